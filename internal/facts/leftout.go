package facts

import (
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// maxNamed is how many imports a LeftOut names.
const maxNamed = 3

// LeftOut is what a nats-server has left out of the claims of an account that it runs. It
// acknowledges a JWT all the same.
type LeftOut struct {
	Imports []*jwt.Import // that do nothing, in the order of the claims
	// JetStream says that its JetStream limits are above what the nats-server has. Those of before
	// are in force there, or JetStream is off.
	JetStream bool
	Unknown   bool // something else is left out
}

// LeftOut compares what a nats-server has loaded with the claims of the JWT that it runs.
//
// A nats-server says for an import that its exporter has taken back, or whose activation token has
// expired since, that it is invalid. An import that was like that when the JWT came is not among
// those that the nats-server lists, and the account is not complete. So it is with an import that
// would close a cycle. If the account is not complete although all imports are there, it is
// JetStream.
func (i Info) LeftOut(c *jwt.AccountClaims) (l LeftOut) {
	if i.State != Loaded {
		return l
	}
	if i.MoreImports {
		return LeftOut{Unknown: !i.Complete}
	}
	works := make(map[Import]int)
	for _, m := range i.Imports {
		if !m.Invalid {
			works[Import{Account: m.Account, Subject: m.Subject, Type: m.Type}]++
		}
	}
	for _, m := range c.Imports {
		if m != nil && !takeImport(works, m) {
			l.Imports = append(l.Imports, m)
		}
	}
	if !i.Complete && len(l.Imports) == 0 {
		l.JetStream = c.Limits.IsJSEnabled()
		l.Unknown = !l.JetStream
	}
	return l
}

// takeImport takes an import of the claims out of those that work, and reports whether it was
// there. An import of a service may have the exporter's subject in either field.
func takeImport(works map[Import]int, m *jwt.Import) bool {
	//lint:ignore SA1019 claims that were made long ago have it
	for _, subject := range []string{string(m.Subject), string(m.To)} {
		of := Import{Account: m.Account, Subject: subject, Type: m.Type.String()}
		if works[of] > 0 {
			works[of]--
			return true
		}
	}
	return false
}

// String names what is left out, "" if it is nothing.
func (l LeftOut) String() string {
	switch {
	case l.JetStream:
		return "JetStream limits"
	case l.Unknown:
		return "a part that it does not name"
	case len(l.Imports) == 0:
		return ""
	}
	var named []string
	for _, m := range l.Imports[:min(len(l.Imports), maxNamed)] {
		subject := strings.ToValidUTF8(string(m.Subject), "\uFFFD")
		named = append(named, fmt.Sprintf("%.64q", subject))
	}
	text := "import of " + strings.Join(named, ", ")
	if len(l.Imports) > 1 {
		text = "imports of " + strings.Join(named, ", ")
	}
	if more := len(l.Imports) - len(named); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
