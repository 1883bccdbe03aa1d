package claimdiff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"
)

// pair is an element of two lists. One of them is nil if the element is in one list only. Both are
// set if the element was changed, or is the same.
type pair[T any] struct{ stored, pushed *T }

// match finds the elements of two lists that belong together: those with the same identity,
// whatever their place. Of several with the same one, those that are equal belong together first.
// The result is in order of the identities. Null elements are left out.
//
// The steps: elements are grouped by identity, equal ones are taken out as pairs, and what is left
// is paired in the order of its JSON. So a duplicate that was added is one new element, and not a
// change of the other. A pair of equal elements is in the result as well: callers find no change in
// it.
func match[T any](stored, pushed []*T, identity func(*T) string) []pair[T] {
	before, now := sorted(stored, identity), sorted(pushed, identity)
	var pairs []pair[T]
	for _, id := range keysOf(before, now) {
		a, b := before[id], now[id]
		pairs = append(pairs, matchEqual(&a, &b)...)
		for i := range max(len(a), len(b)) {
			var p pair[T]
			if i < len(a) {
				p.stored = a[i].of
			}
			if i < len(b) {
				p.pushed = b[i].of
			}
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// element is an element of a list and its JSON, which tells which are equal. text is only compared,
// never shown.
type element[T any] struct {
	of   *T
	text string
}

// sorted returns the elements of a list by identity, those with the same one in order of their
// JSON. Elements of one identity are few, as a rule one.
func sorted[T any](list []*T, identity func(*T) string) map[string][]element[T] {
	all := map[string][]element[T]{}
	for _, e := range list {
		if e == nil {
			continue
		}
		text, err := json.Marshal(e)
		if err != nil { // a type that can't be encoded, for instance
			text = fmt.Appendf(nil, "%+v", *e)
		}
		id := identity(e)
		all[id] = append(all[id], element[T]{e, string(text)})
	}
	for _, same := range all {
		slices.SortFunc(same, func(a, b element[T]) int { return cmp.Compare(a.text, b.text) })
	}
	return all
}

// matchEqual takes the elements that both lists have out of them, and returns them as pairs. The
// lists themselves are not changed, only what a and b point to.
func matchEqual[T any](a, b *[]element[T]) (pairs []pair[T]) {
	*a = slices.DeleteFunc(slices.Clone(*a), func(e element[T]) bool {
		at := slices.IndexFunc(*b, func(o element[T]) bool { return o.text == e.text })
		if at < 0 {
			return false
		}
		pairs = append(pairs, pair[T]{e.of, (*b)[at].of})
		*b = slices.Delete(slices.Clone(*b), at, at+1)
		return true
	})
	return pairs
}

// exportID is what an export is matched by. Example: "service orders.place".
func exportID(e *jwt.Export) string { return e.Type.String() + " " + string(e.Subject) }

// diffExports compares what others may import. An export is another one if its type or subject is.
// Words are like "service orders.place is exported, with a token". A new export has no effect,
// because nothing can depend on it yet. nil lists are empty.
func diffExports(d differ, stored, pushed jwt.Exports) {
	for _, p := range match(stored, pushed, exportID) {
		e := cmp.Or(p.pushed, p.stored)
		what := e.Type.String() + " " + Plain(string(e.Subject))
		in := d.inside("nats.exports[].", string(e.Subject), what).as("export_changed")
		switch {
		case p.pushed == nil:
			in.add(Change{Field: "subject", Code: "export_removed", Sign: removed,
				Words: " is no longer exported"})
		case p.stored == nil:
			words := " is exported"
			if needs := grantee(e); needs != "" {
				words += ", " + needs
			}
			in.add(Change{Field: "subject", Code: "export_added", Sign: added, Effect: None,
				Words: words})
		default:
			in.prefix += ": "
			diffExport(in, p.stored, p.pushed)
		}
	}
}

// Grantee returns the words for which accounts may import an export, as the subject of a sentence.
// Account tokens are counted from 1.
func Grantee(e *jwt.Export) string {
	switch {
	case e.TokenReq:
		return "accounts with a token"
	case e.AccountTokenPosition > 0:
		return fmt.Sprintf("the account that token %d of the subject names", e.AccountTokenPosition)
	}
	return "every account"
}

// grantee is Grantee after a verb. It is "" if every account may import the export.
func grantee(e *jwt.Export) string {
	switch {
	case e.TokenReq:
		return "with a token"
	case e.AccountTokenPosition > 0:
		return fmt.Sprintf("to the account that token %d of the subject names",
			e.AccountTokenPosition)
	}
	return ""
}

// diffExport compares two versions of an export. advertise, allow_trace and the latency decide what
// is seen, and not which messages arrive. Each field of jwt.Export that has a meaning is one call.
func diffExport(d differ, stored, pushed *jwt.Export) {
	d.flag("token_req", stored.TokenReq, pushed.TokenReq,
		"imports need a token", "imports need no token", false)
	d.value("account_token_position", "%s", position(stored), position(pushed))
	diffTokenRevocations(d, stored.Revocations, pushed.Revocations)
	d.raw("response_type", "a request gets %s", responseType(stored), responseType(pushed),
		responseWords)
	d.value("response_threshold", "a reply may take %s", threshold(stored), threshold(pushed))
	diffLatency(d, stored.Latency, pushed.Latency)
	d.flag("advertise", stored.Advertise, pushed.Advertise, "is advertised",
		"is not advertised")
	d.flag("allow_trace", stored.AllowTrace, pushed.AllowTrace,
		"traces of importers go in", "traces of importers do not go in")
	d.text("name", "name", stored.Name, pushed.Name)
	d.text("description", "description", stored.Description, pushed.Description)
	d.text("info_url", "info URL", stored.InfoURL, pushed.InfoURL)
}

// position returns the words for who may import an export without a token.
func position(e *jwt.Export) string {
	if e.AccountTokenPosition == 0 {
		return "no token of the subject must name the importer"
	}
	return fmt.Sprintf("token %d of the subject must name the importer", e.AccountTokenPosition)
}

// responseType returns the type of a service's replies. One reply is what a service has without a
// type.
func responseType(e *jwt.Export) string {
	return string(cmp.Or(e.ResponseType, jwt.ResponseTypeSingleton))
}

// responseWords returns the words for how many replies a request gets.
func responseWords(kind string) string {
	switch kind {
	case jwt.ResponseTypeSingleton:
		return "one reply"
	case jwt.ResponseTypeStream:
		return "a stream of replies"
	case jwt.ResponseTypeChunked:
		return "a reply in chunks"
	}
	return Plain(kind)
}

// threshold returns the words for how long a reply may take. 0 is the default of nats-server, which
// claims can't know.
func threshold(e *jwt.Export) string {
	if e.ResponseThreshold == 0 {
		return "as long as the server's default"
	}
	return Duration(e.ResponseThreshold)
}

// diffLatency compares how the latency of a service is measured. nil is not at all.
func diffLatency(d differ, stored, pushed *jwt.ServiceLatency) {
	switch {
	case stored == nil && pushed == nil:
	case pushed == nil:
		d.add(Change{Field: "service_latency.sampling", Sign: removed,
			Words: "latency is not measured any more"})
	case stored == nil:
		d.add(Change{Field: "service_latency.sampling", Sign: added, Words: fmt.Sprintf(
			"latency of %s is measured, results go to %s", sampling(pushed),
			Plain(string(pushed.Results)))})
	default:
		d.value("service_latency.sampling", "latency of %s is measured", sampling(stored),
			sampling(pushed))
		d.raw("service_latency.results", "results of latency go to %s",
			string(stored.Results), string(pushed.Results), Plain)
	}
}

// sampling returns the words for which requests are measured. jwt.Headers, which is 0, is those
// that have a header for traces.
func sampling(l *jwt.ServiceLatency) string {
	if l.Sampling == jwt.Headers {
		return "requests with a header"
	}
	return fmt.Sprintf("%d %% of requests", int(l.Sampling))
}

// diffTokenRevocations compares whose activation tokens for an export count no longer, and up to
// which issue time. Unlike users, the keys are those of accounts.
func diffTokenRevocations(d differ, stored, pushed jwt.RevocationList) {
	whose := func(key string) string {
		if key == jwt.All {
			return "tokens of all accounts"
		}
		return "tokens of account " + Key(key)
	}
	diffRevoked(d, revoked{field: "revocations{}",
		came: "activation_revoked", gone: "activation_unrevoked",
		words: func(key string, before int64) string {
			return whose(key) + " issued before " + Time(before) + " do not count"
		},
		lifted: func(key string, _ int64) string { return whose(key) + " count again" },
	}, stored, pushed)
}

// importID is what an import is matched by. The subject here is not in it, so that an import with
// another one is one change, and not one that is gone and one that came.
func importID(i *jwt.Import) string {
	return i.Type.String() + " " + i.Account + " " + string(i.Subject)
}

// diffImports compares what the account uses of others. Words are like "service orders.place from
// ACNW…V2JU is imported as place".
func diffImports(d differ, stored, pushed jwt.Imports) {
	for _, p := range match(stored, pushed, importID) {
		i := cmp.Or(p.pushed, p.stored)
		what := fmt.Sprintf("%s %s from %s", i.Type, Plain(Remote(i)), Key(i.Account))
		in := d.inside("nats.imports[].", string(i.Subject), what).as("import_changed")
		switch {
		case p.pushed == nil:
			in.add(Change{Field: "subject", Code: "import_removed", Sign: removed,
				Words: " is no longer imported"})
		case p.stored == nil:
			in.add(Change{Field: "subject", Code: "import_added", Sign: added, Effect: None,
				Words: " is imported" + imported(i)})
		default:
			in.prefix += ": "
			diffImport(in, p.stored, p.pushed)
		}
	}
}

// Remote returns the subject that an import has in the account that exports it. Claims without
// local_subject may have the old field "to", where a service then has the exporter's subject.
func Remote(i *jwt.Import) string {
	if i.LocalSubject == "" && i.IsService() && i.GetTo() != "" {
		return i.GetTo()
	}
	return string(i.Subject)
}

// Local returns the subject that an import has in the account that imports it. In the old field
// "to", a stream has a prefix of it. Example: the stream "a.b" with the prefix "x" is here "x.a.b".
func Local(i *jwt.Import) string {
	switch {
	case i.LocalSubject != "":
		return string(i.LocalSubject)
	case i.IsStream() && i.GetTo() != "":
		return i.GetTo() + "." + string(i.Subject)
	}
	return string(i.Subject)
}

// imported returns what follows the words for a new import: its subject here if that is another
// one, and its token if it has one.
func imported(i *jwt.Import) (words string) {
	if Local(i) != Remote(i) {
		words = " as " + Plain(Local(i))
	}
	if i.Token != "" {
		words += ", " + tokenWords(i.Token)
	}
	return words
}

// tokenWords returns the words for an activation token: until when it counts. Whether it is one for
// this import, and not revoked, is not asked.
func tokenWords(token string) string {
	if token == "" {
		return "without a token"
	}
	grant, err := jwt.DecodeActivationClaims(token)
	switch {
	case err != nil:
		return "with a token that can't be read"
	case grant.Expires == 0:
		return "with a token that does not expire"
	}
	return "with a token until " + Time(grant.Expires)
}

// diffImport compares two versions of an import. Tokens that are issued anew differ, although they
// may say the same. The subject and the account are the same in both, since they are the identity.
// The token is compared as text first, since its words have only its end.
func diffImport(d differ, stored, pushed *jwt.Import) {
	if stored.Token != pushed.Token {
		before, now := tokenWords(stored.Token), tokenWords(pushed.Token)
		if before == now {
			now = "with another token"
		}
		d.add(Change{Field: "token", Words: now + d.was(before)})
	}
	field := "local_subject"
	if stored.GetTo() != pushed.GetTo() {
		field = "to"
	}
	d.raw(field, "is here as %s", Local(stored), Local(pushed), Plain)
	d.raw("to", "asks for %s", Remote(stored), Remote(pushed), Plain)
	d.flag("share", stored.Share, pushed.Share,
		"the exporter sees who asks", "the exporter does not see who asks")
	d.flag("allow_trace", stored.AllowTrace, pushed.AllowTrace,
		"traces go into the exporter", "traces do not go into the exporter")
	d.text("name", "name", stored.Name, pushed.Name)
}
