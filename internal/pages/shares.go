package pages

import (
	"html/template"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// shares is what an account exports and imports. All lists are bounded by maxItems. Null exports
// and imports are left out of all.
type shares struct {
	Exports, Imports         []shareRow
	MoreExports, MoreImports int // that are left out
	// Missing are imports of other accounts from this one that do nothing.
	Missing       []missingRow
	HasImporters  bool          // the accounts that import are known
	MoreImporters bool          // there are more of them than were read
	IsAny         bool          // there is something to show
	Graph         template.HTML // "" if there is nothing to draw
}

// shareRow is an export or an import. Subjects are as claimdiff.Plain writes them.
type shareRow struct {
	Subject, Kind string // the subject of the exporter; "stream" or "service"
	Details       []string

	Who        string    // of an export: who may import it
	ImportedBy []account // the same
	MoreBy     int       // that are not in it

	From  account // of an import: the account that exports it
	As    string  // the same: the subject here
	State tag
	Why   string // the import does nothing
}

// missingRow is an import of another account that this one does not export.
type missingRow struct {
	account
	Subject, Kind, Why string
}

// maxBy bounds the accounts that are named beside an export.
const maxBy = 8

// sharesOf describes what an account exports and imports. d.Claims must not be nil.
func sharesOf(d monitor.Detail, now time.Time) (s shares) {
	s.HasImporters, s.MoreImporters = d.HasImporters, d.MoreImporters
	for _, e := range d.Claims.Exports {
		switch {
		case e == nil:
		case len(s.Exports) == maxItems:
			s.MoreExports++
		default:
			s.Exports = append(s.Exports, exportRow(e, d))
		}
	}
	for n, i := range d.Claims.Imports {
		switch {
		case i == nil:
		case len(s.Imports) == maxItems:
			s.MoreImports++
		default:
			s.Imports = append(s.Imports, importRow(i, d.Sources[n], now))
		}
	}
	s.findMissing(d)
	s.IsAny = len(s.Exports)+len(s.Imports)+len(s.Missing) > 0
	s.Graph = graphOf(d)
	return s
}

// exportRow describes an export. An account that imports several subjects of it counts once, and
// one whose import does nothing does not count. An import belongs to each export that contains its
// subject and is of the same type.
func exportRow(e *jwt.Export, d monitor.Detail) shareRow {
	row := shareRow{Subject: claimdiff.Plain(string(e.Subject)), Kind: e.Type.String(),
		Who: claimdiff.Grantee(e)}
	if e.Description != "" {
		row.Details = append(row.Details, claimdiff.Quote(e.Description))
	}
	for _, importer := range d.Importers {
		for n, i := range importer.Imports {
			if i.Type == e.Type && i.Subject.IsContainedIn(e.Subject) && importer.Faults[n] == "" {
				row.addImporter(account{importer.Key, importer.Name})
				break
			}
		}
	}
	return row
}

// addImporter adds an account that imports it.
func (r *shareRow) addImporter(a account) {
	if len(r.ImportedBy) == maxBy {
		r.MoreBy++
		return
	}
	r.ImportedBy = append(r.ImportedBy, a)
}

// importRow describes an import. An import that works is described by its activation token if that
// expires. The token is not verified again: from.Fault says whether it counts.
func importRow(i *jwt.Import, from monitor.Source, now time.Time) shareRow {
	row := shareRow{Subject: claimdiff.Plain(claimdiff.Remote(i)), As: claimdiff.Plain(claimdiff.Local(i)),
		Kind: i.Type.String(), From: account{i.Account, from.Name}, State: tag{"ok", "exported"},
		Why: from.Fault}
	if row.Why != "" {
		row.State = tag{bad, "does nothing"}
		return row
	}
	grant, err := jwt.DecodeActivationClaims(i.Token)
	if i.Token == "" || err != nil || grant.Expires <= 0 {
		return row
	}
	// A token that never expires has nothing to say.
	at := time.Unix(grant.Expires, 0)
	row.State = tag{"ok", "until " + moment(at, now)}
	if at.Sub(now) <= attentionDays*day {
		row.State.Class = warn
	}
	return row
}

// findMissing finds the imports of other accounts from this one that do nothing. Such an import is
// of no export here, so that no row of an export can show it.
func (s *shares) findMissing(d monitor.Detail) {
	for _, importer := range d.Importers {
		for n, i := range importer.Imports {
			if importer.Faults[n] != "" && len(s.Missing) < maxItems {
				s.Missing = append(s.Missing, missingRow{account{importer.Key, importer.Name},
					claimdiff.Plain(claimdiff.Remote(i)), i.Type.String(), importer.Faults[n]})
			}
		}
	}
}
