package monitor

import (
	"context"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// maxExporters bounds the claims of exporters that are kept during a look at all imports. They are
// all forgotten then, which is simpler than to forget the oldest and costs little.
const maxExporters = 1000

// importCheck finds imports that do nothing, by the stored claims of both accounts. It keeps the
// claims of exporters, since many accounts import from the same. One goroutine uses it, for one
// answer or one walk through all accounts. Claims are as they were when they were read: an
// importCheck that lives longer would have old ones.
type importCheck struct {
	m         *Monitor
	exporters map[string]*jwt.AccountClaims // by key; nil: it is not stored or not served
	now       time.Time                     // of all checks
}

// newImportCheck returns an importCheck that knows no exporter.
func (m *Monitor) newImportCheck() *importCheck {
	return &importCheck{m, make(map[string]*jwt.AccountClaims), time.Now()}
}

// claims returns the claims of a stored account, nil if it is not there or not served. It reads the
// file of the account, and verifies no signature.
func (c *importCheck) claims(key string) *jwt.AccountClaims {
	token, _, err := c.m.Store.Load(key, jwtstore.Stamp{})
	if err != nil || !c.m.Index.Get(key).Servable {
		// The system account may be that of the configuration.
		a, err := c.m.Accounts.GetLocal(context.Background(), key)
		if err != nil {
			return nil
		}
		token = a.JWT
	}
	claims, err := trust.Claims(token) // the index knows that it was verified
	if err != nil {
		return nil
	}
	return claims
}

// exporter is claims for an account that others import from. Also that there is none is remembered.
func (c *importCheck) exporter(key string) *jwt.AccountClaims {
	claims, known := c.exporters[key]
	if !known {
		claims = c.claims(key)
		if len(c.exporters) >= maxExporters {
			clear(c.exporters)
		}
		c.exporters[key] = claims
	}
	return claims
}

// faults returns which imports of an account do nothing, and why, a text for each. The text is like
// `service "orders.new" from …: the account does not export it`; none means that all imports do
// what they should.
func (c *importCheck) faults(key string) []string {
	claims, isKnown := c.exporters[key]
	if !isKnown {
		claims = c.claims(key)
	}
	if claims == nil {
		return nil
	}
	return claimcheck.Imports(claims, c.exporter, c.now)
}

// Dangling is the imports that do nothing, of all accounts. Imports counts imports, of which an
// account may have several.
type Dangling struct {
	Imports  int
	Accounts int              // that have any
	First    []DanglingImport // of some of these accounts, by key
	rare     rareKeys         // of these accounts
}

// DanglingImport is an import of an account that does nothing. Import is not nil.
type DanglingImport struct {
	Key, Name string // of the account
	Import    *jwt.Import
	From      Source
}

// maxDangling bounds the accounts in Dangling.First.
const maxDangling = 20

// Dangling returns the imports that do nothing, as they were a moment ago. It reports false as long
// as that is not known: all accounts that import anything are looked at for it.
func (m *Monitor) Dangling() (d Dangling, isKnown bool) {
	d, isKnown, _ = m.imports.look()
	return d, isKnown
}

// dangling finds the imports that do nothing, of all accounts. It reads the JWTs of all that import
// anything. It is the find of m.imports, so it runs at most once at a time.
func (m *Monitor) dangling() (d Dangling) {
	check := m.newImportCheck()
	for key, v := range m.Index.All() {
		if !v.Servable || v.Summary.Imports == 0 {
			continue
		}
		first, n := check.dangling(key)
		if n == 0 {
			continue
		}
		d.rare.add(key)
		d.Imports += n
		if d.Accounts++; d.Accounts <= maxDangling {
			d.First = append(d.First, first)
		}
	}
	return d
}

// dangling returns the first import of an account that does nothing, and how many do. An account
// that can't be read has none.
func (c *importCheck) dangling(key string) (first DanglingImport, n int) {
	claims := c.claims(key)
	if claims == nil {
		return first, 0
	}
	for at, from := range c.sources(claims) {
		if from.Fault == "" {
			continue
		}
		if n++; n == 1 {
			first = DanglingImport{key, claims.Name, claims.Imports[at], from}
		}
	}
	return first, n
}
