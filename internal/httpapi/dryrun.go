package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/dryrun"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/trust"
)

// A dry run asks nats-servers, and holds the account for as long as a compare takes. The limits are
// for all clients together.
const (
	triesPerSecond = 10
	maxTries       = 20 // at once
	// maxTrial bounds one that looks at each connection.
	maxTrial = 30 * time.Second
)

// dryRunner answers dry runs. Any of the pointers but accounts and metrics may be nil: what it
// would say is left out then.
type dryRunner struct {
	accounts   *accounts.Registry
	monitor    *monitor.Monitor
	foreteller *effect.Foreteller
	metrics    *monitor.Metrics
	limit      *rate.Limiter
}

// post says what a push would do, and does nothing. The status is that of the push. It is a path
// of its own, not a parameter: a server that does not know it answers with 404, and stores nothing.
//
// The order: the limit comes before the body, so that a refused client costs nothing. The rules are
// asked before any nats-server. The deadline is set last, when it is known that the answer takes
// longer. Nothing is written into the audit.
func (d *dryRunner) post(w http.ResponseWriter, r *http.Request, _ string) error {
	if !d.limit.Allow() {
		return errTrying
	}
	segment := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, pathAccount), suffixDryRun)
	token, err := readBody(w, r)
	if err != nil {
		return err
	}
	trial, err := d.accounts.DryRun(r.Context(), segment, token, originOf(r), preconditionOf(r))
	if err != nil {
		return err
	}
	d.metrics.DryRun()
	o := effect.Options{Connections: flagsOf(r).set("connections")}
	if o.Connections {
		// That may take longer than the write timeout. An error means that there is none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxTrial))
	}
	answer := d.describe(r.Context(), segment, trial, o)
	return sendAnswer(w, r, answer.Status, answer)
}

// describe puts what a dry run has found into the form of the answer. The changes are those from
// what is stored. Effects and warnings are looked for only if the push would be stored.
//
// The order: the verdict and the rules, then the two JWTs, then changes, effects and warnings. A
// part that is nil was not looked for, and one that is empty has found nothing. t.Claims is nil for
// a JWT whose signature was not verified.
func (d *dryRunner) describe(
	ctx context.Context, key string, t *accounts.Trial, o effect.Options,
) *dryrun.Answer {
	if !trust.IsAccountKey(key) {
		key = "" // it may be anything
	}
	answer := &dryrun.Answer{Account: key, Name: t.Offered.Name, Rules: []dryrun.Rule{},
		Warnings: []dryrun.Warning{}}
	answer.Verdict, answer.Status = verdictOf(t)
	for _, rule := range t.Rules {
		answer.Rules = append(answer.Rules, describeRule(rule))
	}
	if t.Offered.Subject != "" {
		answer.Pushed = describeVersion(t.Offered)
	}
	if t.Stored != nil {
		answer.Stored = describeVersion(t.Stored)
	}
	// What is stored can be damaged: then there is nothing to compare with.
	isCompared := t.Offered.Subject == key && (t.Stored == nil || t.StoredClaims != nil)
	if t.Claims != nil && isCompared {
		// Without a change it is [] in JSON.
		answer.Changes = append([]claimdiff.Change{}, claimdiff.Diff(t.StoredClaims, t.Claims)...)
	}
	var found pushWarnings
	if t.Warning != "" {
		found = append(found, refusedBySome(t.Warning))
	}
	if answer.Verdict == dryrun.Stored {
		found = append(found, d.foretell(ctx, answer, t, o)...)
	}
	for _, warning := range found {
		answer.Warnings = append(answer.Warnings, dryrun.Warning(warning))
	}
	return answer
}

// foretell adds the effects of a push that would be stored, and returns what it would be warned of.
func (d *dryRunner) foretell(
	ctx context.Context, answer *dryrun.Answer, t *accounts.Trial, o effect.Options,
) (found pushWarnings) {
	if d.monitor != nil {
		found = d.monitor.Warnings(t.StoredClaims, t.Claims, true)
	}
	if d.foreteller == nil {
		return found
	}
	// An error means that the client has left.
	f, _ := d.foreteller.Of(ctx, t, o)
	answer.Effects = append([]effect.Line{}, f.Lines...)
	if answer.Changes == nil {
		answer.Effects = append(answer.Effects, effect.Line{Kind: effect.Unknown,
			Code:  "stored_damaged",
			Words: "what is stored is damaged, so what else changes is not known"})
	}
	answer.Asked, answer.TookMS = f.Asked, float64(f.Took)/float64(time.Millisecond)
	return append(found, warningsIn(f)...)
}

// describeVersion tells a JWT of an account from another one.
func describeVersion(a *accounts.Account) *dryrun.Version {
	return &dryrun.Version{ETag: a.ETag, JTI: a.ID, Issued: time.Unix(a.IssuedAt, 0).UTC(),
		Hash: fmt.Sprintf("%x", a.Hash)}
}

// verdictOf returns what a push would do, and its status. The signing service comes first, because
// the offer is refused without it.
func verdictOf(t *accounts.Trial) (verdict string, status int) {
	switch {
	case t.Signing:
		return dryrun.Signing, http.StatusAccepted
	case t.Refused != nil:
		return dryrun.Refused, answerFor(t.Refused).status
	case t.Same:
		return dryrun.Unchanged, http.StatusOK
	}
	return dryrun.Stored, http.StatusOK
}

// describeRule says what became of a rule. The text is that of the answer to a push, in one line.
func describeRule(r accounts.RuleResult) dryrun.Rule {
	switch {
	case r.Skipped:
		return dryrun.Rule{Rule: r.Rule, State: dryrun.NotAsked}
	case r.Refused == nil:
		return dryrun.Rule{Rule: r.Rule, State: dryrun.Passed}
	}
	rule := dryrun.Rule{Rule: r.Rule, State: dryrun.Failed, Code: accounts.Reason(r.Refused)}
	if blocked, is := errors.AsType[*accounts.BlockedError](r.Refused); is {
		rule.Text, rule.Faults = strings.Join(blocked.Issues, "; "), blocked.Issues
		return rule
	}
	first, second, _ := strings.Cut(answerFor(r.Refused).text, "\n")
	rule.Text = cmp.Or(second, first)
	return rule
}
