package effect

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// findRest adds what follows from the changes alone, whatever is connected. Most are Later; expiry
// and mappings may be Cut and Stop.
func (p *push) findRest() {
	fault, cuts := claimcheck.Expiry(p.pushed.Expires, p.now)
	_, total := connected(p.infos)
	switch {
	case cuts:
		p.add(Cut, "expiry_too_far", total, "expires: %s, at once; %s now", fault, p.there(total))
	case p.pushed.Expires < 0:
		p.add(Later, "expired", 0, "expires: %s", fault)
	}
	for _, c := range p.changes {
		switch {
		case c.Field == "exp" && (cuts || p.pushed.Expires < 0):
			// The line above says what it does.
		case c.Field == "nats.limits.payload" && c.Effect == claimdiff.Cut:
			p.payloadLine(c)
		case c.Field == "exp" && c.Effect == claimdiff.Cut:
			p.add(Cut, c.Code, total, "%s: then all connections are out, %s now; a later JWT "+
				"that is pushed before prevents it", c.Words, p.there(total))
		case c.Effect == claimdiff.Later:
			p.add(Later, c.Code, 0, "%s", c.Words)
		case strings.HasPrefix(c.Field, "nats.mappings"):
			p.add(Stop, c.Code, 0, "%s: at once, subscribers see what is mapped now", c.Words)
		}
	}
}

// payloadLine adds what a lower limit of messages does. No nats-server says how large messages are,
// so it is not known which connections it ends. Clients know the limit from when they connected,
// and are not told the new one: that is why they are out for good.
func (p *push) payloadLine(c claimdiff.Change) {
	_, total := connected(p.infos)
	if total > 0 {
		p.add(Cut, c.Code, 0, "%s: a connection that sends a larger one is out, for good; "+
			"clients are not told; %s now", c.Words, p.there(total))
		return
	}
	p.add(Later, c.Code, 0, "%s", c.Words)
}

// changesDefaults reports whether the push changes the default permissions.
func (d *difference) changesDefaults() bool {
	return !reflect.DeepEqual(d.stored.DefaultPermissions, d.pushed.DefaultPermissions)
}

// findDefaults adds what other default permissions do to connections without permissions of their
// own. A user has its own if the scope of its signing key has some, or without a scope its JWT.
func (f *cutFinder) findDefaults(all []facts.Connections) {
	if !f.changesDefaults() {
		return
	}
	n, hidden := count{}, count{}
	for _, s := range all {
		for _, c := range s.All {
			switch scope := claimdiff.UserScope(f.pushed.SigningKeys[c.Issuer]); {
			case scope != nil && !isEmpty(scope.Template.Permissions),
				scope == nil && c.HasPermissions:
				// It has permissions of its own.
			case scope == nil && c.IsHidden:
				hidden.add(c)
			default:
				n.add(c)
			}
		}
	}
	words := n.String()
	if hidden.total() > 0 {
		words += fmt.Sprintf(", and maybe %s whose users nats-servers do not show,", hidden)
	}
	for _, c := range f.changes {
		if strings.HasPrefix(c.Field, "nats.default_permissions") && c.Effect == claimdiff.Stop {
			f.add(Stop, c.Code, n.total(), "%s: at once, for %s without permissions of their own",
				c.Words, words)
		}
	}
}

// isEmpty reports whether permissions say nothing. The default ones count then.
func isEmpty(p jwt.Permissions) bool { return p.Pub.Empty() && p.Sub.Empty() && p.Resp == nil }
