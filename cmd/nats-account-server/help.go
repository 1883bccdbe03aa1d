package main

import (
	"fmt"
	"os"
	"strings"

	"nats-account-server/internal/manual"
)

// helpWidth is how many columns the manual's text takes at most on a terminal. Code blocks and
// tables stay as they are.
const helpWidth = 80

// help writes a page of the manual to standard output: the one about a topic. Other arguments are
// words to look for. Without an argument it lists the topics. Topics may end in .md, as links
// between the pages do. The exit code is 1 if nothing was found. Standard output is no pager: less
// can follow a pipe.
func help(args []string) int {
	words := strings.Join(args, " ")
	if words == "" {
		fmt.Print("nats-account-server help TOPIC shows a page of the manual, " +
			"and help WORDS searches it.\n\n" + topics())
		return 0
	}
	if page, found := manual.Find(strings.ToLower(strings.TrimSuffix(words, ".md"))); found {
		fmt.Print(page.Plain(helpWidth))
		return 0
	}
	hits := manual.Search(words)
	if len(hits) == 0 {
		fmt.Fprintf(os.Stderr, "the manual has nothing about %q; its topics:\n%s", words, topics())
		return 1
	}
	for _, h := range hits {
		fmt.Print(h.Plain(helpWidth))
	}
	return 0
}

// topicWords returns the topics, for completion. The first page is the index, which has no topic.
func topicWords() (words []string) {
	for _, page := range manual.Pages()[1:] {
		words = append(words, page.Topic)
	}
	return words
}

// topics lists the pages, a line for each topic.
func topics() string {
	var b strings.Builder
	for _, page := range manual.Pages()[1:] { // the first one is the index
		fmt.Fprintf(&b, "  %-16s %s\n", page.Topic, page.Title)
	}
	return b.String()
}
