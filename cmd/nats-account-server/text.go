package main

import (
	"embed"
	"strings"
)

// texts has the texts that are longer than a few lines: the help of each command, and what the
// manual page and the completion for bash have around the flags.
//
//go:embed text
var texts embed.FS

// fill returns the file text/<name>, with a value for each placeholder. pairs are placeholders and
// values in turn: "@date@", "2026-11-28". A value is taken as it is, so the caller escapes it. A
// file that is not there is a mistake in this program.
func fill(name string, pairs ...string) string {
	text, err := texts.ReadFile("text/" + name)
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer(pairs...).Replace(string(text))
}

// helpOf returns the help of the command of this name. The commands that read JWTs say there what a
// source can be, in the same words.
func helpOf(command string) string {
	return fill(command+".txt", "@source@", fill("source.txt"))
}
