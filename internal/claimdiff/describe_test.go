package claimdiff_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
)

// printed returns what Describe says, an item a line.
func printed(t *testing.T, c *jwt.AccountClaims) string {
	t.Helper()
	var b strings.Builder
	for _, g := range claimdiff.Describe(c) {
		checkWords(t, g.Title)
		b.WriteString(g.Title + "\n")
		for _, i := range g.Items {
			checkWords(t, i.Label)
			for _, words := range i.Details {
				checkWords(t, words)
			}
			if i.Value != "" {
				checkWords(t, i.Value)
			}
			b.WriteString("  " + i.Label + ": " + i.Value + " | " + strings.Join(i.Details, "; ") + "\n")
		}
	}
	return b.String()
}

func TestDescribeSaysWhatOneVersionSays(t *testing.T) {
	t.Parallel()
	got := printed(t, orders(func(c *jwt.AccountClaims) {
		c.Limits.Conn = 1500
		c.Tags.Add("tier:gold")
		c.RevokeAt(jwt.All, time.Unix(60, 0))
	}))
	for _, want := range []string{
		"Limits\n  Connections: 1,500 | \n  Leaf nodes: unlimited | \n",
		"JetStream\n  Disk for streams: 2 GiB | \n  Memory for streams: 0 | \n",
		"Signing keys\n  AB3D…K2LM: role \"worker\" | may publish to orders.>\n",
		"Revocations\n  all users: issued before Thu 1 Jan 1970, 00:01 UTC | \n",
		"Exports\n  service orders.place: to every account | \n" +
			"  stream orders.status.*: to the account that token 3 of the subject names | \n",
		"  stream invoices.* from AAPL…PLAT: as in.$1 | \n",
		"  a:  | 80 % of the messages go to b, in every cluster; 20 % of the messages go to c",
		"  Tag: tier:gold | \n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// unsaid are the leaves that are no line of their own: what a page has in its title, or nowhere.
var unsaid = []string{"sub", "name", "jti", "nats.type", "nats.version", "nats.signing_keys{}.key",
	"nats.signing_keys{}.kind"}

func TestEachLeafIsDescribed(t *testing.T) {
	t.Parallel()
	for leaf := range claimdiff.Effects {
		one, other := (&filler{}).claims(), (&filler{target: leaf}).claims()
		if leaf == "nats.imports[].to" {
			one.Imports[0].LocalSubject, other.Imports[0].LocalSubject = "", ""
		}
		tiered := strings.Contains(leaf, "tiered")
		for _, c := range []*jwt.AccountClaims{one, other} {
			if !tiered {
				c.Limits.JetStreamTieredLimits = nil // there are either limits or tiers
			}
		}
		same := printed(t, one) == printed(t, other)
		if want := slices.Contains(unsaid, leaf) || leaf == "nats.imports[].token"; same != want {
			t.Errorf("%s: described alike: %t\n%s", leaf, same, printed(t, one))
		}
	}
}
