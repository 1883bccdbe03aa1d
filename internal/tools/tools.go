// Package tools is what the commands beside the server do with JWTs that are somewhere: in files,
// in directories, at account servers.
//
//	Source ──> Verify  what is wrong with them
//	       ──> Import  into a server, by POST, so that its policy decides
//	       ──> Export  into files or a pack
//	       ──> Diff    with another Source, in words
//
//	Client ──> Push, DryRun  one JWT
//
// The commands write no store: only the server that has it open does. They read one as it is, also
// while the server runs: the directory, and what is in the journal only. They decide nothing that
// the policy of a server decides, and print nothing but progress: package main does.
//
// # What is interrupted is repeated
//
// Import and Export keep no state of their own, so the same command does what is left. Import lists
// the accounts of the server first, and asks for each of those whether it has this very JWT (a GET
// with If-None-Match, answered 304): one that is stored is not pushed again, because nats-servers
// would get it again. Export compares each file with what it would write.
//
// # Files
//
// To be read in this order: tools.go has Source and Entry. files.go and client.go are the Sources.
// verify.go, import.go, export.go and diff.go are a command each. push.go is the command push, and
// progress.go what all of them show.
package tools

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// maxWordsBytes is how much of a path or of a server's answer a line shows, in bytes.
const maxWordsBytes = 500

// Source is where JWTs are read.
type Source interface {
	// Each calls take with everything that should be a JWT, from one goroutine, until take returns
	// an error, which Each returns. What can't be read is an Entry with an error. Any error of Each
	// means that there may be more than take has got. take may keep the Entry.
	Each(ctx context.Context, take func(Entry) error) error
	// Len is how many entries there will be; 0 if that is not known.
	Len() int
}

// Entry is one JWT of a Source.
type Entry struct {
	// Place is where it is, for people: the path of a file, "pack.txt, line 3" or a URL. It may
	// have any text, so it is quoted where it is shown.
	Place string
	// Name is the key or hash that the name of the file or the line says. "" means that it says
	// none, as for a file of nsc.
	Name string
	// JWT is the token alone, without space or the lines of nsc around it. It is nil if Err is set.
	JWT []byte
	// Err is why it can't be read; nil if JWT is set.
	Err error
}

// IsToken reports whether the Entry is an activation token.
func (e Entry) IsToken() bool { return trust.IsActivationHash(e.Name) }

// newEntry returns the Entry of a text, which may be a bare JWT, or one that is decorated as nsc
// does. text is not kept if it is decorated, and kept if it is not. A private key in it is an
// error.
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

// sum identifies a JWT: two Entries with the same sum have the same one. It is the identity of
// bytes: the same claims that were issued anew have another sum.
func (e Entry) sum() [sha256.Size]byte { return sha256.Sum256(e.JWT) }

// etag returns the ETag that an account server gives the JWT of an account, to ask for it by. It is
// the header ETag of a GET, with its quotes. The token must be that of head.
func (e Entry) etag(head trust.Head) string { return accounts.NewAccount(e.JWT, head).ETag }

// check returns the name under which an Entry can be kept, which is its key or hash, and for an
// account the head of its JWT. It verifies no signature. The error is why it is no JWT of an
// account or an activation token, or that its name is another one. For a file the check of its name
// comes last, so that head is set with errMisnamed too. A token's name is taken as it is: it has
// been checked to be a hash.
func (e Entry) check() (name string, head trust.Head, err error) {
	switch {
	case e.Err != nil:
		return "", head, e.Err
	case e.IsToken():
		return e.Name, head, nil
	}
	if head, err = trust.Peek(e.JWT); err != nil {
		return "", head, err
	}
	if !trust.IsAccountKey(head.Subject) {
		return "", head, fmt.Errorf("its subject %.56q is no account key", head.Subject)
	}
	return head.Subject, head, e.checkName(head.Subject)
}

// claims returns what the JWT of an account says. Its signature must be that of the issuer that it
// names.
func (e Entry) claims() (*jwt.AccountClaims, error) {
	if e.Err != nil {
		return nil, e.Err
	}
	head, err := trust.Peek(e.JWT)
	if err != nil {
		return nil, err
	}
	return trust.Verify(e.JWT, head)
}

// checkName returns an error if the name of a file is the key of another account than its JWT. A
// file without a key in its name may have any account. The error has the account's key, and wraps
// errMisnamed.
func (e Entry) checkName(account string) error {
	if e.Name != "" && e.Name != account {
		return fmt.Errorf("%w, which is that of %.56q", errMisnamed, account)
	}
	return nil
}

// errMisnamed is why a JWT is not taken from a place that names another account.
var errMisnamed = errors.New("its name is the key of another account than its JWT is")

// Open returns the Source at a URL, in a directory or in a file. access counts for a URL only. What
// is in a Source is read by Each: the error is that there is none. where begins with http:// or
// https:// for a server; anything else is a path. Symbolic links are followed. A directory is
// listed here, and no file in it is opened.
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
	return openFile(where, info)
}

// IsURL reports whether a Source is a server.
func IsURL(where string) bool {
	return strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://")
}

// Fault is something that is wrong with an Entry. verify and diff print it as JSON.
type Fault struct {
	// File is the Place of the Entry; any text.
	File string `json:"file,omitempty"`
	// Account is the key of the account, "" if it is not known.
	Account string `json:"account,omitempty"`
	// Code is a stable name for programs, such as "expired": see codeUnreadable and those after it.
	Code string `json:"code"`
	// Reason is for people. It is on one line and quoted already.
	Reason string `json:"reason"`
}

// String returns the line about a fault.
func (f Fault) String() string {
	place := cmp.Or(f.File, f.Account)
	return fmt.Sprintf("%s: %s", logging.Quote(place, maxWordsBytes), f.Reason)
}

// fault returns the Fault of an Entry.
func (e Entry) fault(code string, err error) Fault {
	f := Fault{File: e.Place, Code: code,
		Reason: logging.Quote(oneLine(err.Error()), maxWordsBytes)}
	if trust.IsAccountKey(e.Name) {
		f.Account = e.Name
	}
	return f
}

// oneLine joins the lines of a text. Space of any kind becomes one blank: a server's answer has
// line ends, and a line is what a fault has.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Join(strings.Fields(text), " ")
}
