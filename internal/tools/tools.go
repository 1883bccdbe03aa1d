// Package tools is what the commands beside the server do with JWTs that are somewhere: in files, in
// directories, at account servers.
//
//	Source ──> Verify  what is wrong with them
//	       ──> Import  into a server, by POST, so that its policy decides
//	       ──> Export  into files or a pack
//	       ──> Diff    with another Source, in words
//
// The commands write no store: only the server that has it open does. They read one as it is, also
// while the server runs: the directory, and what is in the journal only.
package tools

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// maxWordsBytes is how much of a path or of a server's answer a line shows.
const maxWordsBytes = 500

// Source is where JWTs are read.
type Source interface {
	// Each calls take with everything that should be a JWT, from one goroutine, until take returns
	// an error. What can't be read is an Entry with an error. The error of Each means that there may
	// be more than take has got.
	Each(ctx context.Context, take func(Entry) error) error
	// Len is how many entries there will be; 0 if that is not known.
	Len() int
}

// Entry is one JWT of a Source.
type Entry struct {
	Place string // where it is: the path of a file, the line of a pack; hostile
	Name  string // the key or hash that the name of the file or the line says; "": none
	JWT   []byte // without what may stand around it; nil if Err is set
	Err   error  // why it can't be read
}

// IsToken reports whether the Entry is an activation token.
func (e Entry) IsToken() bool { return trust.IsActivationHash(e.Name) }

// newEntry returns the Entry of a text.
func newEntry(place, name string, text []byte) Entry {
	token, err := trust.Bare(text)
	if err == nil && len(token) == 0 {
		err = errEmpty
	}
	if err != nil {
		return Entry{Place: place, Name: name, Err: err}
	}
	return Entry{Place: place, Name: name, JWT: token}
}

// sum identifies a JWT.
func (e Entry) sum() [sha256.Size]byte { return sha256.Sum256(bytes.TrimSpace(e.JWT)) }

// etag returns the ETag that an account server gives the JWT.
func (e Entry) etag(head trust.Head) string { return accounts.NewAccount(e.JWT, head).ETag }

// Open returns the Source at a URL, in a directory or in a file.
func Open(where string, access Access) (Source, error) {
	if IsURL(where) {
		return NewClient(where, access)
	}
	info, err := os.Stat(where)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return openDirectory(where)
	}
	return openFile(where)
}

// IsURL reports whether a Source is a server.
func IsURL(where string) bool {
	return strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://")
}

// Fault is something that is wrong with an Entry.
type Fault struct {
	File    string `json:"file,omitempty"`    // hostile
	Account string `json:"account,omitempty"` // its key, if it is known
	Code    string `json:"code"`              // a stable name
	Reason  string `json:"reason"`            // for people, on one line
}

// String returns the line about a fault.
func (f Fault) String() string {
	place := cmp.Or(f.File, f.Account)
	return fmt.Sprintf("%s: %s", logging.Quote(place, maxWordsBytes), f.Reason)
}

// fault returns the Fault of an Entry.
func (e Entry) fault(code string, err error) Fault {
	f := Fault{File: e.Place, Code: code, Reason: logging.Quote(oneLine(err.Error()), maxWordsBytes)}
	if trust.IsAccountKey(e.Name) {
		f.Account = e.Name
	}
	return f
}

// oneLine joins the lines of a text.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")), " ")
}
