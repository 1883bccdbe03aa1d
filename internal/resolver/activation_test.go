package resolver_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// holds reports whether this very token is served.
func (srv *accountServer) holds(hash string, token []byte) bool {
	a, err := srv.tokens.GetLocal(context.Background(), hash)
	return err == nil && string(a.JWT) == string(token)
}

// activationSubject is where another account server announces a token.
func activationSubject(a *jwttest.Account, hash string) string {
	return "$SYS.ACCOUNT." + a.ID + ".CLAIMS.ACTIVATE." + hash
}

func TestActivationsFromNATSAreVerifiedLikeAPOST(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	exporter, importer, stranger := jwttest.NewAccount(t), jwttest.NewAccount(t),
		jwttest.NewAccount(t)
	srv.push(t, exporter.ID, srv.signed(t, exporter, 100))
	good, hash := jwttest.Activation(t, exporter, importer, time.Now().Add(-time.Minute))
	older, _ := jwttest.Activation(t, exporter, importer, time.Now().Add(-time.Hour))
	foreign, foreignHash := jwttest.Activation(t, stranger, importer, time.Now())
	inItsName, inItsNameHash := jwttest.ActivationBy(t, stranger.Key, importer, time.Now(),
		func(c *jwt.ActivationClaims) { c.IssuerAccount = exporter.ID })
	announced := srv.count(t, "$SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*")
	offers := map[string][]byte{
		activationSubject(exporter, foreignHash):   foreign,
		activationSubject(stranger, foreignHash):   foreign,
		activationSubject(exporter, inItsNameHash): inItsName,
		activationSubject(exporter, "junk"):        []byte("junk"),
		activationSubject(importer, "account"):     srv.signed(t, importer, 0),
	}
	for subject, token := range offers {
		if err := srv.nc.Publish(subject, token); err != nil {
			t.Fatal(err)
		}
	}
	if err := srv.nc.Publish(activationSubject(exporter, hash), good); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the good one is served", func() bool { return srv.holds(hash, good) })
	if err := srv.nc.Publish(activationSubject(exporter, hash), older); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "all others are refused", func() bool {
		return srv.log.Count("is refused - ") >= len(offers)
	})
	for _, hash := range []string{foreignHash, inItsNameHash} {
		if _, err := srv.tokens.GetRaw(t.Context(), hash); !errors.Is(err,
			activations.ErrNotFound) {
			t.Errorf("it is stored: %v", err)
		}
	}
	if !srv.holds(hash, good) {
		t.Error("the older one is served")
	}
	if n := announced.Load(); n != int64(len(offers))+2 {
		t.Errorf("%d messages, and the test has sent %d", n, len(offers)+2)
	}
}

func TestAnActivationMayComeBeforeItsAccount(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	one, other := startServer(t, env), startServer(t, env)
	exporter := jwttest.NewAccount(t)
	token, hash := jwttest.Activation(t, exporter, jwttest.NewAccount(t), time.Now())
	if err := env.nc.Publish(activationSubject(exporter, hash), token); err != nil {
		t.Fatal(err)
	}
	if err := env.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	one.push(t, exporter.ID, env.signed(t, exporter, 0))
	for _, srv := range []*accountServer{one, other} {
		natstest.Eventually(t, "it is served", func() bool { return srv.holds(hash, token) })
		if text := srv.log.String(); strings.Contains(text, "refused") {
			t.Errorf("it logs\n%s", text)
		}
	}
}

func TestServersAgreeOnActivationsOfOneSecondInWhateverOrderTheyCame(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	one, other := startServer(t, env), startServer(t, env)
	exporter := jwttest.NewAccount(t)
	token := env.signed(t, exporter, 10)
	one.push(t, exporter.ID, token)
	other.eventuallyHas(t, exporter.ID, token)
	now := time.Now()
	for range 10 {
		var hash string
		importer := jwttest.NewAccount(t)
		for _, srv := range []*accountServer{one, other} {
			token, hash = jwttest.Activation(t, exporter, importer, now,
				func(c *jwt.ActivationClaims) { c.Name = jwttest.NewAccount(t).ID })
			a, _, err := srv.tokens.Put(t.Context(), token, sourceHTTP)
			if err != nil {
				t.Fatal(err)
			}
			if !srv.client.PublishActivation(a) {
				t.Error("it is not published")
			}
		}
		natstest.Eventually(t, "both serve the same", func() bool {
			a, err := one.tokens.GetLocal(t.Context(), hash)
			return err == nil && other.holds(hash, a.JWT)
		})
	}
}

func TestNoActivationIsLostWhileOthersWaitForAccountsThatNeverCome(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	exporter, stranger := jwttest.NewAccount(t), jwttest.NewAccount(t)
	srv.push(t, exporter.ID, srv.signed(t, exporter, 10))
	hashes := map[string][]byte{}
	for n := range 600 {
		from := exporter
		if n < 300 {
			from = stranger
		}
		token, hash := jwttest.Activation(t, from, jwttest.NewAccount(t), time.Now())
		if from == exporter {
			hashes[hash] = token
		}
		if err := srv.nc.Publish(activationSubject(from, hash), token); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "every one of the known account is served", func() bool {
		for hash, token := range hashes {
			if !srv.holds(hash, token) {
				return false
			}
		}
		return true
	})
}

func TestAnActivationMayComeBeforeItsSigningKey(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	exporter, signing := jwttest.NewAccount(t), jwttest.NewAccount(t)
	srv.push(t, exporter.ID, srv.signed(t, exporter, 10))
	token, hash := jwttest.ActivationBy(t, signing.Key, jwttest.NewAccount(t), time.Now(),
		func(c *jwt.ActivationClaims) { c.IssuerAccount = exporter.ID })
	if err := srv.nc.Publish(activationSubject(signing, hash), token); err != nil {
		t.Fatal(err)
	}
	account := srv.signed(t, exporter, 0,
		func(c *jwt.AccountClaims) { c.SigningKeys.Add(signing.ID) })
	if err := srv.nc.Publish("$SYS.ACCOUNT."+exporter.ID+".CLAIMS.UPDATE", account); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "it is served", func() bool { return srv.holds(hash, token) })
}
