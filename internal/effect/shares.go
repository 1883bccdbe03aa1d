package effect

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/trust"
)

const (
	// maxImporters is how many accounts that import are looked at one by one, and maxAskers that if
	// only the names of some are needed.
	maxImporters = 1000
	maxAskers    = 50
	// maxCounted is of how many of them the connections are asked for.
	maxCounted = 50
	// maxNamed is how many of them are named in one line.
	maxNamed = 10
)

// importer is an account that imports from the one that is pushed. Its claims were read when the
// Forecast was begun.
type importer struct {
	key, name string
	claims    *jwt.AccountClaims
}

// shareFinder finds what a push does to imports: those of other accounts, and those of the account
// itself. Whether an import works is what claimcheck says of it, once with the stored claims of the
// account and once with the pushed ones.
type shareFinder struct {
	*push
	accounts  *claimReader
	index     Importers
	exporters map[string]*jwt.AccountClaims // that the account imports from; nil: there are none
}

// claimReader reads what is stored. An account that can't be read is as one that is not there.
type claimReader struct {
	ctx      context.Context
	accounts Accounts
}

// claimsOf returns the claims of a stored account, nil if there are none.
func (r *claimReader) claimsOf(key string) *jwt.AccountClaims {
	a, err := r.accounts.GetLocal(r.ctx, key)
	if err != nil {
		return nil
	}
	// The JWT was verified before it was served.
	claims, err := trust.Claims(a.JWT)
	if err != nil {
		return nil
	}
	return claims
}

// importers returns the accounts that import from the account and that are served, at most so many.
// more is how many the index names besides. Their claims are not read, so some may not import.
func (f *shareFinder) importers(most int) (all []importer, more int) {
	for i := range f.index.Importers(f.key) {
		switch {
		case i.Key == f.key || !i.Servable:
			continue
		case len(all) == most:
			more++
			continue
		}
		claims := f.accounts.claimsOf(i.Key)
		if claims != nil && slices.ContainsFunc(claims.Imports, f.isFromHere) {
			all = append(all, importer{i.Key, claims.Name, claims})
		}
	}
	return all, more
}

// isFromHere reports whether an import is from the account.
func (d *difference) isFromHere(i *jwt.Import) bool { return i != nil && i.Account == d.key }

// find finds what imports and exports do. If no export and no key changes, the importers are read
// only for the line of Lost, which names some of them.
//
// The order: importers are read before anything is compared, and compared before their connections
// are counted. Only accounts with a line are counted. The imports of the account itself come last
// and cost a read for each exporter.
func (f *shareFinder) find() {
	most := maxAskers
	if f.changesGrants() {
		most = maxImporters
	}
	all, more := f.importers(most)
	if f.changesGrants() {
		for _, i := range all {
			f.compareImporter(i)
		}
		f.countConnections()
		if more > 0 {
			f.add(Unknown, "importers_not_asked", 0, "%s more accounts import from it, or may: "+
				"they were not looked at", claimdiff.Count(more))
		}
	}
	f.findLost(all, more)
	f.compareOwn()
}

// changesGrants reports whether an import of another account may begin or cease to work.
func (d *difference) changesGrants() bool {
	for _, c := range d.changes {
		// A signing key signs activation tokens too.
		isKey := strings.HasPrefix(c.Field, "nats.signing_keys{}") && c.Sign != "~"
		if isKey || strings.HasPrefix(c.Field, "nats.exports[]") || c.Code == "account_added" {
			return true
		}
	}
	return false
}

// compareImporter adds a line for each import of another account that ceases or begins to work. An
// import that did not work and still does not has no line.
func (f *shareFinder) compareImporter(of importer) {
	stored := claimcheck.FaultsFrom(f.stored, of.claims, f.now)
	pushed := claimcheck.FaultsFrom(f.pushed, of.claims, f.now)
	for n, i := range of.claims.Imports {
		if !f.isFromHere(i) {
			continue
		}
		before, after := stored[n], pushed[n]
		what := i.Type.String() + " " + claimdiff.Plain(claimdiff.Remote(i)) + ": "
		switch {
		case before == nil && after != nil:
			f.addLine(Line{Kind: Stop, Code: "import_stops", Account: of.key, Name: of.name,
				Words: what + after.Error()})
		case before != nil && after == nil:
			f.addLine(Line{Kind: Starts, Code: "import_starts", Account: of.key, Name: of.name,
				Words: what + "has waited for it since " + claimdiff.Time(of.claims.IssuedAt)})
		}
	}
}

// countConnections adds to lines about other accounts how many connections these have, and puts
// those with most first. INFO is asked for each account once, for all of them at the same time. An
// account that is not answered in time keeps 0. At most maxCounted are asked, in the order of their
// lines.
func (f *shareFinder) countConnections() {
	defer f.spend(time.Now())
	var keys []string
	for _, l := range slices.Concat(f.lines[Stop], f.lines[Starts]) {
		if l.Account != "" && len(keys) < maxCounted && !slices.Contains(keys, l.Account) {
			keys = append(keys, l.Account)
		}
	}
	totals := make([]int, len(keys))
	var asking sync.WaitGroup
	for n, key := range keys {
		asking.Go(func() { _, totals[n] = connected(f.facts.Info(f.asking, key)) })
	}
	asking.Wait()
	for _, lines := range [][]Line{f.lines[Stop], f.lines[Starts]} {
		for i, l := range lines {
			if n := slices.Index(keys, l.Account); n >= 0 {
				lines[i].Connections = totals[n]
			}
		}
		slices.SortStableFunc(lines, func(a, b Line) int {
			return cmp.Or(cmp.Compare(b.Connections, a.Connections),
				strings.Compare(a.Name, b.Name))
		})
	}
}

// findLost adds that requests in flight from other accounts get no replies any more. nats-server
// takes all exports away and adds them again with each update, and the replies' imports with them.
func (f *shareFinder) findLost(all []importer, more int) {
	var names []string
	for _, of := range all {
		if slices.ContainsFunc(of.claims.Imports, func(i *jwt.Import) bool {
			return f.isFromHere(i) && i.IsService() &&
				claimcheck.Import(of.key, i, f.stored, f.now) == nil
		}) {
			names = append(names, claimdiff.Plain(cmp.Or(of.name, claimdiff.Key(of.key))))
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	others := len(names) - maxNamed
	list := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if others > 0 || more > 0 {
		list += " and " + claimdiff.Count(max(0, others)+more) + " more"
	}
	f.add(Lost, "replies_lost", 0, "replies to requests in flight to its services, with every "+
		"push: %s may wait for some", list)
}

// compareOwn adds a line for each import of the account itself that ceases or begins to work. An
// import whose subject here changes does both. The maps have no order, so the lines are sorted at
// the end.
func (f *shareFinder) compareOwn() {
	if !slices.ContainsFunc(f.changes, func(c claimdiff.Change) bool {
		return strings.HasPrefix(c.Field, "nats.imports[]")
	}) {
		return
	}
	f.exporters = make(map[string]*jwt.AccountClaims)
	before, after := f.working(f.stored), f.working(f.pushed)
	for id, i := range before {
		if after[id] == nil {
			f.ownLine(Stop, "import_stops", i, "it is not imported any more as "+local(i))
		}
	}
	for id, i := range after {
		if before[id] == nil {
			f.ownLine(Starts, "import_starts", i, "it is imported as "+local(i))
		}
	}
	for _, k := range []Kind{Stop, Starts} {
		slices.SortStableFunc(f.lines[k], func(a, b Line) int {
			return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Words, b.Words))
		})
	}
}

// ownLine adds a line about an import of the account itself.
func (f *shareFinder) ownLine(k Kind, code string, i *jwt.Import, why string) {
	name := ""
	if from := f.exporter(i.Account); from != nil {
		name = from.Name
	}
	what := i.Type.String() + " " + claimdiff.Plain(claimdiff.Remote(i)) + " from "
	of := claimdiff.Plain(cmp.Or(name, claimdiff.Key(i.Account)))
	f.add(k, code, 0, "%s%s: %s", what, of, why)
}

// exporter returns the claims of an account that the account imports from, nil if there are none.
// Each is read once.
func (f *shareFinder) exporter(key string) *jwt.AccountClaims {
	claims, isKnown := f.exporters[key]
	if !isKnown {
		claims = f.accounts.claimsOf(key)
		f.exporters[key] = claims
	}
	return claims
}

// working returns the imports of claims that do something. The key of each has all that says what
// it does, so that the same import in other claims has the same key.
func (f *shareFinder) working(c *jwt.AccountClaims) map[string]*jwt.Import {
	found := make(map[string]*jwt.Import)
	for n, fault := range claimcheck.Faults(c.Imports, func(i *jwt.Import) error {
		return claimcheck.Import(f.key, i, f.exporter(i.Account), f.now)
	}) {
		if i := c.Imports[n]; i != nil && fault == nil {
			id := []string{i.Account, i.Type.String(), claimdiff.Remote(i), local(i)}
			found[strings.Join(id, " ")] = i
		}
	}
	return found
}

// local returns the words for the subject that an import has in the importing account.
func local(i *jwt.Import) string { return claimdiff.Plain(claimdiff.Local(i)) }
