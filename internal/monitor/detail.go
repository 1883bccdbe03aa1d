package monitor

import (
	"bytes"
	"context"
	"errors"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// maxImporters bounds the accounts in Detail.Importers. The JWT of each is read.
const maxImporters = 50

// Detail is what is known of one account. The embedded Account is what the list has of it as well.
type Detail struct {
	Account
	Token  []byte             // the JWT; nil: it can't be read
	Claims *jwt.AccountClaims // nil: they can't be read
	// Delivery is that of the last change, with a line for each nats-server. It hides
	// Account.Delivery.
	Delivery accounts.Report
	Sources  []Source // of the imports in Claims, in their order
	// Importers are accounts that import from this one, by key. There are no more of them than 50;
	// MoreImporters says that there may be. HasImporters is false as long as they are not known.
	Importers                   []ImporterDetail
	MoreImporters, HasImporters bool
}

// Source is where an import comes from. The zero Source is that of a null import.
type Source struct {
	Key, Name string // of the account that exports; Name is "" if it is not known
	IsStored  bool
	Fault     string // why the import does nothing; "": it does what it should
}

// ImporterDetail is an account that imports from another one. Imports and Faults have the same
// length.
type ImporterDetail struct {
	Key, Name string
	Imports   []*jwt.Import // from that account
	Faults    []string      // of each of them, as in Source
}

// Detail describes one account. The error is that of accounts.Registry.GetLocal if nothing is
// stored for it. It reads the JWT, those of exporters and those of up to maxImporters importers.
// The answer has gaps where something can't be read.
func (m *Monitor) Detail(ctx context.Context, key string) (d Detail, err error) {
	check, v := m.newImportCheck(), m.Index.Get(key)
	a, err := m.Accounts.GetLocal(ctx, key)
	switch {
	case err == nil:
		d.Token, d.Claims = a.JWT, a.Claims()
		check.exporters[key] = d.Claims // is not read once more
	case v.Stored():
		d.Token, d.Claims = m.unserved(key)
	default:
		return Detail{}, err
	}
	if !v.Stored() { // it is the system account of the configuration
		v.Servable, v.IssuedAt, v.Expires = true, a.IssuedAt, a.Expires
		v.Summary.Name, v.Summary.Issuer, v.Summary.Imports = a.Name, a.Issuer, len(a.Imports)
	}
	d.Account = m.accountOf(check, key, v)
	// Report would wait for acknowledgements as long as the context lasts.
	ended, end := context.WithCancel(ctx)
	end()
	d.Delivery = m.Accounts.Report(ended, key, false)
	if d.Claims != nil {
		d.Sources = check.sources(d.Claims)
		d.findImporters(check)
	}
	return d, nil
}

// unserved returns the JWT of an account that is stored and not served; nil if it can't be read, or
// has a private key in it. A page may show the text of a damaged JWT, but never a key. claims is
// nil if they can't be read.
func (m *Monitor) unserved(key string) (token []byte, claims *jwt.AccountClaims) {
	token, _, err := m.Store.Load(key, jwtstore.Stamp{})
	if _, secret := trust.Bare(token); err != nil || errors.Is(secret, trust.ErrPrivateKey) {
		return nil, nil
	}
	claims, err = jwt.DecodeAccountClaims(string(bytes.TrimSpace(token)))
	if err != nil {
		return token, nil
	}
	return token, claims
}

// sources describes where the imports of an account come from. That of a null import is empty.
func (c *importCheck) sources(claims *jwt.AccountClaims) []Source {
	all, exporters := make([]Source, len(claims.Imports)), make(map[string]Source)
	faults := claimcheck.Faults(claims.Imports, func(i *jwt.Import) error {
		from := c.exporter(i.Account)
		s := Source{Key: i.Account, IsStored: from != nil}
		if from != nil {
			s.Name = from.Name
		}
		exporters[i.Account] = s
		return claimcheck.Import(claims.Subject, i, from, c.now)
	})
	for n, i := range claims.Imports {
		if i != nil {
			all[n] = exporters[i.Account]
			all[n].Fault = faultText(faults[n])
		}
	}
	return all
}

// faultText is the text of a fault; "" for none.
func faultText(fault error) string {
	if fault == nil {
		return ""
	}
	return fault.Error()
}

// findImporters finds the accounts that import from this one: those that the index names, and whose
// claims say so. An import of the index is a hint that may be too much: its entry may only be
// likely, so claims decide.
func (d *Detail) findImporters(check *importCheck) {
	importers, isKnown := check.m.importers(d.Key)
	if d.HasImporters = isKnown; !isKnown {
		return
	}
	for i := range importers {
		if len(d.Importers) == maxImporters {
			d.MoreImporters = true
			return
		}
		claims := check.claims(i.Key)
		if claims == nil {
			continue
		}
		found := ImporterDetail{Key: i.Key, Name: claims.Name}
		faults := claimcheck.FaultsFrom(d.Claims, claims, check.now)
		for n, imported := range claims.Imports {
			if imported != nil && imported.Account == d.Key {
				found.Imports = append(found.Imports, imported)
				found.Faults = append(found.Faults, faultText(faults[n]))
			}
		}
		if len(found.Imports) > 0 {
			d.Importers = append(d.Importers, found)
		}
	}
}
