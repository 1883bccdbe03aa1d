package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// signingKey adds a signing key to an operator.
func signingKey(t *testing.T, op *jwttest.Operator) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	op.Claims.SigningKeys.Add(key)
	return pair
}

// post pushes a JWT of an account, and get asks for it. Both return the status and the body.
func (e *env) post(id string, token []byte) (int, string) {
	e.t.Helper()
	return e.answer(http.Post(e.url(id), "application/jwt", bytes.NewReader(token)))
}

func (e *env) get(id string) (int, string) {
	e.t.Helper()
	return e.answer(http.Get(e.url(id)))
}

func (e *env) url(id string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/jwt/v1/accounts/%s", e.config.HTTP.Port, id)
}

func (e *env) answer(r *http.Response, err error) (int, string) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// want fails unless the account's JWT is served with this status.
func (e *env) want(name, id string, status int) {
	e.t.Helper()
	if got, body := e.get(id); got != status {
		e.t.Errorf("%s: %d %q, want %d", name, got, body, status)
	}
}

// wantLine waits for a text in the log. What reviews the store writes it in the background.
func (e *env) wantLine(text string) {
	e.t.Helper()
	natstest.Eventually(e.t, text, func() bool { return strings.Contains(e.log.String(), text) })
}

// copyFunc makes a JWT of the system account, perhaps in a file in dir.
type copyFunc func(t *testing.T, dir string, op *jwttest.Operator,
	removed nkeys.KeyPair) config.JWTRef

// TestAFallbackKeepsNoRemovedKeyTrusted rotates the signing key. The configuration still names a
// JWT of the system account that can't be used, in every way there is.
func TestAFallbackKeepsNoRemovedKeyTrusted(t *testing.T) {
	for _, c := range []struct {
		name string
		// copy returns what systemaccountjwtpath names after the rotation.
		copy copyFunc
		why  string
	}{
		{"signed with the removed key", func(t *testing.T, dir string, op *jwttest.Operator,
			removed nkeys.KeyPair) config.JWTRef {
			token := jwttest.Sign(t, removed, op.System, time.Now())
			return config.JWTRef{Path: jwttest.File(t, dir, "sys.jwt", token)}
		}, "did not sign it"},
		{"in the configuration, and expired", func(t *testing.T, _ string, op *jwttest.Operator,
			removed nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Token: string(jwttest.Sign(t, removed, op.System, time.Now(),
				func(c *jwt.AccountClaims) { c.Expires = 1 }))}
		}, "did not sign it"},
		{"not whole", func(t *testing.T, dir string, op *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Path: jwttest.File(t, dir, "sys.jwt",
				jwttest.Flip(op.SystemAccount(t)))}
		}, "signature"},
		{"empty", func(t *testing.T, dir string, _ *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Path: jwttest.File(t, dir, "sys.jwt", nil)}
		}, "the file is empty"},
		{"of another account", func(t *testing.T, dir string, op *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			token := op.Account(t, jwttest.NewAccount(t))
			return config.JWTRef{Path: jwttest.File(t, dir, "sys.jwt", token)}
		}, "differs from configured System Account"},
		{"the key of another account", func(t *testing.T, _ string, _ *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Key: jwttest.AccountKey(t)}
		}, "differs from configured System Account"},
		{"the operator's", func(t *testing.T, dir string, op *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Path: jwttest.File(t, dir, "sys.jwt", []byte(op.Token(t)))}
		}, "not account claim"},
		{"missing", func(_ *testing.T, dir string, _ *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Path: filepath.Join(dir, "missing")}
		}, "missing: "},
		{"a directory", func(_ *testing.T, dir string, _ *jwttest.Operator,
			_ nkeys.KeyPair) config.JWTRef {
			return config.JWTRef{Path: dir}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			e := newEnv(t, func(c *config.Config) { c.Store.Dir = filepath.Join(dir, "store") })
			former := e.op.Signing
			e.op.Signing = signingKey(t, e.op)
			e.reload(func(c *config.Config) { c.Operators = tokens(e.op.Token(t)) })
			left := jwttest.NewAccount(t)
			for id, token := range map[string][]byte{
				e.op.System.ID: e.op.SystemAccount(t),
				left.ID:        jwttest.Sign(t, former, left, time.Now()),
			} {
				if status, body := e.post(id, token); status != http.StatusOK {
					t.Fatal(status, body)
				}
			}
			e.op.Claims.SigningKeys = e.op.Claims.SigningKeys[1:]
			log := e.reload(func(next *config.Config) {
				next.Operators = tokens(e.op.Token(t))
				next.SystemAccount = c.copy(t, dir, e.op, former)
			})
			wantText(t, log, "error loading system account from ", c.why,
				"only used while the store has no good JWT", reloaded)
			e.wantLine("1 of 2 stored JWTs are no longer good and are not served, sign these " +
				"accounts anew and push them: " + left.ID + " (the operator " + e.op.ID +
				" did not sign it)")
			e.wantRotated(left, former)

			// A start ends no other way.
			e.stop()
			e.start()
			natstest.Eventually(t, "the start says it, too", func() bool {
				return e.log.Count("stored JWTs are no longer good") == 2
			})
			e.wantRotated(left, former)
			if warnings, err := daemon.Check(e.config); err != nil || len(warnings) != 1 ||
				!strings.Contains(warnings[0].Text, c.why) || warnings[0].Strict {
				t.Errorf("-t: %v, %v", warnings, err)
			}
		})
	}
}

// wantRotated fails unless the removed key is trusted no more, and the system account is served.
func (e *env) wantRotated(left *jwttest.Account, removed nkeys.KeyPair) {
	e.t.Helper()
	e.want("an account of the removed key", left.ID, http.StatusInternalServerError)
	e.want("the system account", e.op.System.ID, http.StatusOK)
	a := jwttest.NewAccount(e.t)
	token := jwttest.Sign(e.t, removed, a, time.Now())
	if status, body := e.post(a.ID, token); status != http.StatusBadRequest {
		e.t.Errorf("a push with the removed key: %d %q", status, body)
	}
	e.wantPush(e.op, http.StatusOK)
}

// The stored JWT is left behind by a rotation. The configured one was made anew.
func TestAConfiguredSystemAccountIsServedInPlaceOfOneThatIsNotGood(t *testing.T) {
	e := newEnv(t, func(c *config.Config) { c.Store.Dir = t.TempDir() })
	stored := jwttest.Sign(t, e.op.Signing, e.op.System, time.Now().Add(-time.Minute))
	if status, body := e.post(e.op.System.ID, stored); status != http.StatusOK {
		t.Fatal(status, body)
	}
	e.op.Claims.SigningKeys = nil
	e.op.Signing = signingKey(t, e.op)
	older := jwttest.Sign(t, e.op.Signing, e.op.System, time.Now().Add(-time.Hour))
	configured := e.op.SystemAccount(t)
	for _, c := range []struct {
		name  string
		token []byte
		want  int
	}{
		{"an older one", older, http.StatusInternalServerError},
		{"a newer one", configured, http.StatusOK},
	} {
		e.reload(func(next *config.Config) {
			next.Operators = tokens(e.op.Token(t))
			next.SystemAccount = config.JWTRef{Token: string(c.token)}
		})
		e.want(c.name, e.op.System.ID, c.want)
	}
	if _, body := e.get(e.op.System.ID); body != string(configured) {
		t.Errorf("served is %q", body)
	}
}

// The operator requires signing keys, and its only one is removed. nats-server trusts nothing then.
func TestTheLastSigningKeyOfAStrictOperatorCanBeRemoved(t *testing.T) {
	e := newEnv(t, func(c *config.Config) { c.Store.Dir = t.TempDir() })
	a, removed := jwttest.NewAccount(t), e.op.Signing
	if status, body := e.post(a.ID, e.op.Account(t, a)); status != http.StatusOK {
		t.Fatal(status, body)
	}
	e.op.Claims.SigningKeys, e.op.Claims.StrictSigningKeyUsage = nil, true
	log := e.reload(func(next *config.Config) { next.Operators = tokens(e.op.Token(t)) })
	line := "the operator " + e.op.ID +
		" in the configuration requires signing keys and has none: nothing " +
		"that it signs is accepted"
	wantText(t, log, "[WRN] "+line, reloaded)
	e.wantLine("1 of 1 stored JWTs are no longer good")
	e.want("an account of the removed key", a.ID, http.StatusInternalServerError)
	for name, key := range map[string]nkeys.KeyPair{"removed": removed, "identity": e.op.Key} {
		status, body := e.post(a.ID, jwttest.Sign(t, key, a, time.Now()))
		if status != http.StatusBadRequest {
			t.Errorf("a push with the %s key: %d %q", name, status, body)
		}
	}
	e.stop()
	e.start()
	if n := e.log.Count("[WRN] " + line); n != 2 {
		t.Errorf("after a start there are %d such lines", n)
	}
	warnings, err := daemon.Check(e.config)
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].Text, line) {
		t.Errorf("-t: %v, %v", warnings, err)
	}
}

func TestASystemAccountThatIsNowhereIsReported(t *testing.T) {
	e := newEnv(t, func(c *config.Config) { c.Store.Dir = t.TempDir() })
	missing := filepath.Join(t.TempDir(), "sys.jwt")
	e.reload(func(next *config.Config) { next.SystemAccount.Path = missing })
	line := "[WRN] there is no good JWT of the system account " + e.op.System.ID + " here"
	e.wantLine(line)
	if status, body := e.post(e.op.System.ID, e.op.SystemAccount(t)); status != http.StatusOK {
		t.Fatal(status, body)
	}
	e.reload(func(*config.Config) {})
	e.stop() // the review has ended then
	e.start()
	if n := e.log.Count(line); n != 1 {
		t.Errorf("it is reported %d times", n)
	}
}
