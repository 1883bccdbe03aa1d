package monitor

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/claimdiff"
)

// Warning is what is odd about a push and does not keep it from being stored.
type Warning struct {
	Kind string // a stable word: one of the label kind of push_warnings_total
	Text string // one line, texts of tenants are quoted
}

// KindBreaks is the Kind of a Warning that an import of another account does nothing any more. The
// other Kinds are those of claimcheck.Kind.
const KindBreaks = "breaks_importer"

// Bounds of what a push looks at. A dry run looks at more.
const (
	maxPushExporters = 8
	maxPushImporters = 64
	maxDryImporters  = 1000
)

// Warnings returns what a push of claims should be warned of. stored is what was stored before, nil
// if nothing was. A push that leaves imports and exports as they are costs no more than a look into
// the index; a thorough look reads what it needs. pushed must have passed the policy. The order is
// that of the imports, and then of the importers' keys.
func (m *Monitor) Warnings(stored, pushed *jwt.AccountClaims, thorough bool) (found []Warning) {
	w := warner{m, stored, pushed, thorough, m.newImportCheck()}
	if fault, _ := claimcheck.Expiry(pushed.Expires, w.check.now); fault != "" {
		found = append(found, Warning{claimcheck.KindIncomplete, "expires: " + fault})
	}
	return slices.Concat(found, w.imports(), w.exports())
}

// warner looks at one push. One goroutine uses it, for one push.
type warner struct {
	m              *Monitor
	stored, pushed *jwt.AccountClaims // stored is nil if nothing was
	thorough       bool
	check          *importCheck
}

// imports returns the warnings about imports of the account that do nothing. Without a thorough
// look, exporters beyond maxPushExporters are only looked up in the index: whether they are there
// at all.
func (w *warner) imports() (found []Warning) {
	pushed, check := w.pushed, w.check
	isSame := w.stored != nil && reflect.DeepEqual(w.stored.Imports, pushed.Imports)
	for n, fault := range claimcheck.Faults(pushed.Imports, func(i *jwt.Import) (fault error) {
		switch {
		case !w.thorough && (isSame || len(check.exporters) >= maxPushExporters):
			// The system account of the configuration need not be stored.
			if !w.m.Index.Get(i.Account).Servable && check.exporter(i.Account) == nil {
				fault = claimcheck.Import(pushed.Subject, i, nil, check.now)
			}
		case i.Account == pushed.Subject:
			fault = claimcheck.Import(pushed.Subject, i, pushed, check.now)
		default:
			fault = claimcheck.Import(pushed.Subject, i, check.exporter(i.Account), check.now)
		}
		return fault
	}) {
		if i := pushed.Imports[n]; fault != nil {
			text := fmt.Sprintf("import of %s %s from %s: %v", i.Type,
				claimdiff.Plain(claimdiff.Remote(i)), claimdiff.Key(i.Account), fault)
			found = append(found, Warning{claimcheck.Kind(fault), text})
		}
	}
	return found
}

// exports returns the warnings about imports of other accounts, which did something until now.
// stored is what worked before, so an import that did nothing before is no warning.
func (w *warner) exports() (found []Warning) {
	stored, pushed := w.stored, w.pushed
	// Activation tokens count only as long as the key that has signed them is there.
	if stored == nil || reflect.DeepEqual(stored.Exports, pushed.Exports) &&
		reflect.DeepEqual(stored.SigningKeys, pushed.SigningKeys) {
		return nil
	}
	key, limit := pushed.Subject, maxPushImporters
	if w.thorough {
		limit = maxDryImporters
	}
	importers, isKnown := w.m.importers(key)
	if !isKnown {
		return []Warning{{KindBreaks, "which accounts import from this one is not known yet"}}
	}
	for i := range importers {
		if limit--; limit < 0 {
			return append(found, Warning{KindBreaks,
				"more accounts import from this one, which were not looked at"})
		}
		if importer := w.check.claims(i.Key); importer != nil {
			found = append(found, broken(importer, stored, pushed, w.check.now)...)
		}
	}
	return found
}

// broken returns the imports of an account that stored has exports for, and pushed has not.
// importer imports from the account of pushed. Both its claims are compared at the same instant.
func broken(importer, stored, pushed *jwt.AccountClaims, now time.Time) (found []Warning) {
	before := claimcheck.FaultsFrom(stored, importer, now)
	after := claimcheck.FaultsFrom(pushed, importer, now)
	for n, i := range importer.Imports {
		if i == nil || i.Account != pushed.Subject || before[n] != nil {
			continue
		}
		if fault := after[n]; fault != nil {
			found = append(found, Warning{KindBreaks, fmt.Sprintf("%s imports %s %s: %v",
				nameOf(importer), i.Type, claimdiff.Plain(claimdiff.Remote(i)), fault)})
		}
	}
	return found
}

// nameOf names an account. Example: "orders (ACNW4GQZ6T5Y…)". Texts of tenants are quoted.
func nameOf(c *jwt.AccountClaims) string {
	if c.Name == "" {
		return claimdiff.Key(c.Subject)
	}
	return fmt.Sprintf("%s (%s)", claimdiff.Plain(c.Name), claimdiff.Key(c.Subject))
}
