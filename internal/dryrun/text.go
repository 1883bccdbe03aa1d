package dryrun

import (
	"fmt"
	"slices"
	"strings"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/logging"
)

const (
	// columnHead is where the verdict stands in the first line, columnWords what a line says.
	// Columns are counted in characters, from 0. Longer texts move what follows.
	columnHead  = 58
	columnWords = 12

	// maxText bounds a text that a tenant may have chosen.
	maxText = 512
)

// Text is the answer for people, in lines that end with "\n": a first line with the account and the
// verdict, then a section for each part that there is. Texts of tenants are quoted and cut. It is
// no format for programs: it may change. A section begins with an empty line.
func (a *Answer) Text() string {
	w := &writer{}
	w.line(fmt.Sprintf("%-*s %s", columnHead-1, a.title(), a.verdict()))
	w.refusals(a)
	w.changes(a)
	w.effects(a)
	w.warnings(a)
	return w.String()
}

// title names the account: its name, and its key cut in the middle. Example: "orders
// ACNW4GQZ…V2JU".
func (a *Answer) title() string {
	key := logging.Quote(a.Account, maxText)
	if len(key) > 16 {
		key = key[:8] + "…" + key[len(key)-4:]
	}
	if a.Name == "" {
		return key
	}
	return logging.Quote(a.Name, 64) + "  " + key
}

// verdict says what would happen.
func (a *Answer) verdict() string {
	switch a.Verdict {
	case Stored:
		return "would be stored, nothing is stored"
	case Unchanged:
		return "is stored already, a push would change nothing"
	case Signing:
		return "would go to the signing service, nothing is sent"
	}
	return fmt.Sprintf("would be refused with %d, nothing is stored", a.Status)
}

// writer puts the text together. Each method but line and item writes a section, or nothing.
type writer struct{ strings.Builder }

// line writes a line.
func (w *writer) line(text string) { w.WriteString(strings.TrimRight(text, " ") + "\n") }

// section begins a section.
func (w *writer) section(title string) { w.line("\n  " + title) }

// item writes a line of a section: a word, and what it is about. Example: "    expired     it has
// expired on …". "" as the word continues the item above.
func (w *writer) item(word, text string) {
	w.line(fmt.Sprintf("    %-*s %s", columnWords-1, word, logging.Quote(text, maxText)))
}

// refusals writes which rules refuse the JWT, and which could not be asked. The rules that have
// passed are left out.
func (w *writer) refusals(a *Answer) {
	var not []string
	isFirst := true
	for _, r := range a.Rules {
		switch {
		case r.State == NotAsked:
			not = append(not, r.Rule)
		case r.State == Failed && isFirst:
			isFirst = false
			w.section("refused by the rule")
			fallthrough
		case r.State == Failed:
			w.refusal(r)
		}
	}
	if not != nil {
		w.line("  not checked, because of that: " + strings.Join(not, ", "))
	}
}

// refusal writes why a rule refuses the JWT, with a line for each fault.
func (w *writer) refusal(r Rule) {
	if len(r.Faults) == 0 {
		w.item(r.Rule, r.Code+": "+r.Text)
	}
	word, code := r.Rule, r.Code+": "
	for _, fault := range r.Faults {
		w.item(word, code+fault)
		word, code = "", ""
	}
}

// changes writes what differs from what is stored. The signs are those of a diff: "+", "-" and "~".
func (w *writer) changes(a *Answer) {
	title := "difference to what is stored (%s)"
	switch {
	case a.Changes == nil && a.Verdict == Stored:
		w.section("what is stored is damaged, so the difference is not known")
		return
	case a.Changes == nil:
		return
	case a.Stored == nil:
		title = "nothing is stored for this account"
	case len(a.Changes) == 0 && a.Verdict == Unchanged:
		return
	case len(a.Changes) == 0:
		title = "no difference in meaning to what is stored (%s)"
	}
	if a.Stored != nil {
		title = fmt.Sprintf(title, "issued "+claimdiff.Time(a.Stored.Issued.Unix()))
	}
	w.section(title)
	for _, c := range a.Changes {
		w.line("    " + c.Sign + " " + logging.Quote(c.Words, maxText))
	}
}

// effects writes what would happen to those who are connected, and which nats-servers have said so.
// Only a line about another account names it, and how many connections it has. Example: "    cut 2
// connections of user alice are ended".
func (w *writer) effects(a *Answer) {
	if a.Effects == nil {
		return
	}
	asked := "no nats-server was asked"
	switch {
	case len(a.Asked) == 0 && slices.ContainsFunc(a.Effects, func(e effect.Line) bool {
		return e.Code == "server_silent"
	}):
		asked = "no nats-server has answered"
	case len(a.Asked) > 0:
		asked = fmt.Sprintf("asked of %s in %s", names(a.Asked), took(a.TookMS))
	}
	w.section(fmt.Sprintf("%-*s %s", columnHead-8, "effect", asked))
	if len(a.Effects) == 0 {
		w.line("    none")
	}
	for _, e := range a.Effects {
		words := logging.Quote(e.Words, maxText)
		if e.Account != "" {
			words = fmt.Sprintf("%-10s %s", account(e.Name, e.Account), words)
			if e.Connections > 0 {
				words += "  (" + logging.Count(e.Connections, "connection", "connections") + ")"
			}
		}
		w.line(fmt.Sprintf("    %-7s %s", e.Kind, words))
	}
}

// took is a time for people: "9.1 ms", or "4.01 s".
func took(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%.3g s", ms/1000)
	}
	return fmt.Sprintf("%.3g ms", ms)
}

// maxNames is how many nats-servers are named.
const maxNames = 5

// names puts the names of nats-servers together. Example: "n1, n2 and 3 more". One name alone may
// have any text.
func names(all []string) string {
	more := ""
	if n := len(all) - maxNames; n > 0 {
		all, more = all[:maxNames], fmt.Sprintf(" and %d more", n)
	}
	return logging.Quote(strings.Join(all, ", "), maxText) + more
}

// account names another account. It is the name if there is one, because people know that.
func account(name, key string) string {
	if name == "" {
		return claimdiff.Key(key)
	}
	return claimdiff.Plain(name)
}

// warnings writes the warnings, and how many there are.
func (w *writer) warnings(a *Answer) {
	if len(a.Warnings) == 0 {
		return
	}
	w.section(logging.Count(len(a.Warnings), "warning", "warnings"))
	for _, warning := range a.Warnings {
		w.line("    " + logging.Quote(warning.Text, maxText))
	}
}
