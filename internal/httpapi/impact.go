package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// impact is the answer at /impact: with which other accounts an account shares now. What a push
// does to them is said by a dry run.
type impact struct {
	Account string   `json:"account"`
	Name    string   `json:"name"` // as the JWT says: any text
	Imports []shared `json:"imports"`
	// Importers are the imports of other accounts from this one, those of an account together.
	// Known is false if they are not known yet, after a start with very many accounts. More means
	// that there are more accounts, which are not listed.
	Importers []shared `json:"importers"`
	Known     bool     `json:"importers_known"`
	More      bool     `json:"more_importers,omitempty"`
}

// shared is one import.
type shared struct {
	Account string `json:"account"` // the other account
	Name    string `json:"name"`    // of that, "" if it is not known
	Type    string `json:"type"`    // stream or service
	Subject string `json:"subject"` // as it is exported
	Fault   string `json:"fault,omitempty"`
}

// getImpact says who imports from an account, and from whom it imports. The error is that of the
// registry: an account that is not stored here is not looked for elsewhere.
func (a *API) getImpact(w http.ResponseWriter, r *http.Request, key string) error {
	if key == "" {
		return accounts.ErrNotFound
	}
	detail, err := a.Monitor.Detail(r.Context(), key)
	if err != nil {
		return err
	}
	return sendAnswer(w, r, http.StatusOK, impactOf(detail))
}

// impactOf puts what is known of an account into the form of the answer. Its lists are not nil: an
// empty one is [] in JSON.
func impactOf(d monitor.Detail) impact {
	i := impact{Account: d.Key, Name: d.Name, Imports: []shared{}, Importers: []shared{},
		Known: d.HasImporters, More: d.MoreImporters}
	if d.Claims != nil {
		for n, imported := range d.Claims.Imports {
			from := d.Sources[n]
			i.Imports = appendShared(i.Imports, from.Key, from.Name, imported, from.Fault)
		}
	}
	for _, importer := range d.Importers {
		for n, imported := range importer.Imports {
			i.Importers = appendShared(i.Importers, importer.Key, importer.Name, imported,
				importer.Faults[n])
		}
	}
	return i
}

// appendShared adds an import. A JWT may have null in its list.
func appendShared(all []shared, key, name string, i *jwt.Import, fault string) []shared {
	if i == nil {
		return all
	}
	return append(all, shared{key, name, i.Type.String(), claimdiff.Remote(i), fault})
}

// Text is the answer for people. Names are texts of tenants, so they are quoted unless they are
// plain.
func (i impact) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n  imports from\n", named(i.Name, i.Account))
	list(&b, i.Imports)
	b.WriteString("\n  is imported by\n")
	if i.Known {
		list(&b, i.Importers)
	} else {
		b.WriteString("    not known yet: ask again\n")
	}
	if i.More {
		b.WriteString("    and more accounts\n")
	}
	return b.String()
}

// list writes a line for each import.
func list(b *strings.Builder, all []shared) {
	if len(all) == 0 {
		b.WriteString("    none\n")
	}
	for _, s := range all {
		fault := ""
		if s.Fault != "" {
			fault = ", which does nothing: " + s.Fault
		}
		fmt.Fprintf(b, "    %-24s %-7s %s%s\n", named(s.Name, s.Account), s.Type,
			claimdiff.Plain(s.Subject), fault)
	}
}

// named names an account.
func named(name, key string) string {
	if name == "" {
		return claimdiff.Key(key)
	}
	return claimdiff.Plain(name) + "  " + claimdiff.Key(key)
}
