package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
)

// reply is what came back for a request; status is 0 if nothing did.
type reply struct {
	status int
	body   []byte
	etag   string
	took   time.Duration
	err    error
}

// ask makes one request to the account server. ok is false if there is no process that would have
// to answer.
func (s *soak) ask(
	client *http.Client, method, path, header string, body []byte,
) (a reply, ok bool) {
	l := s.cluster.run.Load()
	if l.leaving.Load() {
		pause(s.ctx, 10*time.Millisecond)
		return a, false
	}
	l.requests.Add(1)
	began := time.Now()
	a.err = a.fetch(client, method, l.url+path, header, body)
	a.took = time.Since(began)
	return a, a.err == nil || !l.leaving.Load()
}

func (a *reply) fetch(client *http.Client, method, url, ifNoneMatch string, body []byte) error {
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if ifNoneMatch != "" {
		r.Header.Set("If-None-Match", ifNoneMatch)
	}
	got, err := client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if a.body, err = io.ReadAll(got.Body); err != nil {
		return err
	}
	a.status, a.etag = got.StatusCode, got.Header.Get("Etag")
	return nil
}

func accountPath(key string) string { return "/jwt/v1/accounts/" + key }

// pusher pushes what should be let in and what should not, until the soak ends.
func (s *soak) pusher(rng *rand.Rand) {
	// Every push has a connection of its own: on one that idles, a push may meet its end.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		Timeout: time.Minute}
	for s.ctx.Err() == nil {
		r := s.any(rng)
		switch n := rng.IntN(100); {
		case n < 55:
			s.push(client, r, s.newer(rng, r))
		case n < 65:
			s.push(client, r, s.again(rng, r))
		case n < 72:
			s.push(client, r, s.asNew(rng, r))
		case n < 80:
			s.push(client, r, s.older(rng, r))
		default:
			s.forge(client, rng, r)
		}
		pause(s.ctx, upTo(rng, 40*time.Millisecond))
	}
}

// push sends a version and judges the answer.
func (s *soak) push(client *http.Client, r *accountModel, v *version) {
	if v == nil {
		return
	}
	p := r.send(v)
	a, ok := s.ask(client, http.MethodPost, accountPath(r.ID), "", v.token)
	switch {
	case a.status != 0:
		s.pushed.Add(1)
		if err := r.answered(p, a.status, string(a.body)); err != nil {
			s.fail(r, "%v", err)
		}
	case ok:
		r.broken(p, a.err)
		s.fail(r, "the push of %s had no reply after %s, and the server was not stopped: %v",
			v, a.took, a.err)
	default:
		r.broken(p, errors.Join(a.err, errLeaving))
	}
}

var errLeaving = errors.New("the server was stopped")

// newer makes a version with a newer iat than all others.
func (s *soak) newer(rng *rand.Rand, r *accountModel) *version {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.signLocked(rng, r, r.newest+1+rng.Int64N(3))
}

// asNew makes a version with the same iat as the newest.
func (s *soak) asNew(rng *rand.Rand, r *accountModel) *version {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.signLocked(rng, r, r.newest)
}

// older gives a version that is not the newest: one of those before, or one that was never sent.
func (s *soak) older(rng *rand.Rand, r *accountModel) *version {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.all); n > 0 && rng.IntN(2) == 0 {
		return r.all[n-1-rng.IntN(min(n, 20))]
	}
	return s.signLocked(rng, r, r.newest-1-rng.Int64N(5))
}

// again gives the latest version once more.
func (s *soak) again(_ *rand.Rand, r *accountModel) *version {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[len(r.all)-1]
}

// signLocked signs a version. r.mu must be held. Some are large, and some revoke the account's
// second user.
func (s *soak) signLocked(rng *rand.Rand, r *accountModel, iat int64) *version {
	revokes := rng.IntN(2) == 0
	token := jwttest.Sign(s.t, s.cluster.env.op.Signing, r.Account,
		time.Unix(iat, int64(len(r.all))),
		func(c *jwt.AccountClaims) {
			c.Name = fmt.Sprintf("version %d", len(r.all))
			if revokes {
				c.RevokeAt(s.users[r].second.id, time.Now().Add(time.Minute))
			}
			for range rng.IntN(10) / 9 * rng.IntN(400) {
				c.Tags.Add(fmt.Sprintf("tag-%d", rng.Int64()))
			}
		})
	return r.madeLocked(token, iat, revokes)
}

// forge sends what must never be let in.
func (s *soak) forge(client *http.Client, rng *rand.Rand, r *accountModel) {
	name, body := s.forgery(rng, r)
	a, ok := s.ask(client, http.MethodPost, accountPath(r.ID), "", body)
	switch {
	case !ok:
	case a.status == 0:
		s.fail(r, "%s had no reply after %s: %v", name, a.took, a.err)
	case a.status != http.StatusBadRequest:
		s.fail(r, "%s is answered with %d %s", name, a.status, a.body)
	default:
		s.forged.Add(1)
	}
}

// forgery makes something that looks newer than everything that is stored.
func (s *soak) forgery(rng *rand.Rand, r *accountModel) (name string, body []byte) {
	soon := time.Now()
	good := jwttest.Sign(s.t, s.cluster.env.op.Signing, r.Account, soon)
	switch rng.IntN(8) {
	case 0:
		return "a JWT with a changed signature", jwttest.Flip(good)
	case 1:
		return "a JWT of another operator", jwttest.Sign(s.t, s.stranger, r.Account, soon)
	case 2:
		return "a JWT that the account signed", jwttest.Sign(s.t, r.Key, r.Account, soon)
	case 3:
		other := jwttest.NewAccount(s.t)
		return "a JWT of another account", jwttest.Sign(s.t, s.cluster.env.op.Signing, other, soon)
	case 4:
		return "half a JWT", good[:rng.IntN(len(good)-1)]
	case 5:
		garbage := make([]byte, rng.IntN(5000))
		for i := range garbage {
			garbage[i] = byte(rng.Uint32())
		}
		return "garbage", garbage
	case 6:
		return "a JWT from the future", jwttest.Sign(s.t, s.cluster.env.op.Signing, r.Account,
			soon.Add(time.Hour))
	default:
		return "a JWT with another one's signature",
			graft(good, jwttest.Sign(s.t, s.cluster.env.op.Signing, r.Account,
				soon.Add(-time.Second)))
	}
}

// graft gives the claims of one JWT the signature of another.
func graft(claims, signature []byte) []byte {
	return append(bytes.Clone(claims[:bytes.LastIndexByte(claims, '.')]),
		signature[bytes.LastIndexByte(signature, '.'):]...)
}

// getter looks at accounts in every way there is, until the soak ends.
func (s *soak) getter(rng *rand.Rand) {
	// Idle connections are let go before the server ends them.
	client := &http.Client{Transport: &http.Transport{IdleConnTimeout: time.Second},
		Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for s.ctx.Err() == nil {
		if rng.IntN(50) == 0 {
			s.lookElsewhere(client, rng)
		} else {
			s.look(client, s.any(rng), rng.IntN(len(looks)))
		}
		pause(s.ctx, upTo(rng, 20*time.Millisecond))
	}
}

// looks are the ways of looking at an account.
var looks = []struct{ method, query string }{
	{"GET", ""}, {"GET", ""}, {"GET", ""}, {"GET If-None-Match", ""}, {"GET", "?check=true"},
	{"GET", "?text=true"},
	{"GET", "?decode=true"}, {"GET", "?notify=true"}, {"HEAD", ""},
}

// look looks at an account and judges the answer.
func (s *soak) look(client *http.Client, r *accountModel, way int) {
	method, known := looks[way].method, ""
	how := method + " " + looks[way].query
	if method == "GET If-None-Match" {
		method, known = "GET", r.etag()
	}
	began := r.look()
	a, ok := s.ask(client, method, accountPath(r.ID)+looks[way].query, known, nil)
	if !ok {
		return
	}
	s.looked.Add(1)
	s.slowest(a.took)
	if a.took > lookWithin {
		s.fail(r, "%s took %s", how, a.took)
	}
	if err := judge(r, began, how, known, a); err != nil {
		s.fail(r, "%v", err)
	}
}

// judge says what is wrong with an answer.
func judge(r *accountModel, began floor, how, known string, a reply) error {
	switch a.status {
	case http.StatusOK:
	case http.StatusNotModified:
		return r.sawKnown(began, how, known)
	case http.StatusNotFound:
		return r.sawNothing(began, how)
	case http.StatusServiceUnavailable:
		if uncertain(a) || strings.HasPrefix(how, "HEAD") { // which has no body that says why
			return r.sawNothing(began, how)
		}
		fallthrough
	default:
		return fmt.Errorf("%s is answered with %d %s %v", how, a.status, a.body, a.err)
	}
	switch {
	case strings.HasPrefix(how, "HEAD"):
		return nil
	case strings.HasSuffix(how, "decode=true"):
		lines := strings.Fields(string(a.body))
		return r.sawSignature(began, how, lines[len(lines)-1])
	case a.etag != "":
		if err := r.sawETag(a.etag, a.body); err != nil {
			return err
		}
	}
	return r.saw(began, how, a.body)
}

// uncertain reports whether an answer says that other servers may have the account.
func uncertain(a reply) bool {
	return a.status == http.StatusServiceUnavailable &&
		strings.HasPrefix(string(a.body), "other servers may have this account")
}

// lookElsewhere makes requests whose answer is always the same.
func (s *soak) lookElsewhere(client *http.Client, rng *rand.Rand) {
	unknown := jwttest.NewAccount(s.t).ID
	for at, want := range map[string]int{accountPath(unknown): 404,
		accountPath(""): 200, "/healthz": 200,
		"/jwt/v1/operator": 200, "/x": 404} {
		if a, ok := s.ask(client, http.MethodGet, at, "", nil); ok &&
			(a.status != want && !(want == 404 && uncertain(a)) || a.took > lookWithin) {
			s.fail(nil, "GET %s is answered with %d after %s: %v", at, a.status, a.took, a.err)
		}
	}
}

// pair is the users of an account: the first is never revoked, the second by some versions.
type pair struct {
	first, second user
	conns         []*nats.Conn
}

type user struct {
	creds []byte
	id    string
}

func newPair(s *soak, a *jwttest.Account) *pair {
	p := &pair{}
	p.first.creds, p.first.id = a.User(s.t)
	p.second.creds, p.second.id = a.User(s.t)
	return p
}

// settle connects both users to every nats-server for as long as the soak lasts.
func (s *soak) settle(p *pair) {
	for _, n := range s.cluster.nodes {
		for _, u := range []user{p.first, p.second} {
			nc, err := nats.Connect(n.users.URL(), nats.UserCredentialBytes(u.creds),
				nats.RetryOnFailedConnect(true),
				nats.MaxReconnects(-1), nats.ReconnectWait(500*time.Millisecond),
				nats.IgnoreAuthErrorAbort(), quiet)
			if err != nil {
				s.t.Fatal(err)
			}
			s.t.Cleanup(nc.Close)
			p.conns = append(p.conns, nc)
		}
	}
}

var quiet = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

// visitor connects as a user here and there, so that nats-servers load accounts at any moment.
func (s *soak) visitor(rng *rand.Rand) {
	for s.ctx.Err() == nil {
		r, n := s.any(rng), s.cluster.nodes[rng.IntN(len(s.cluster.nodes))]
		nc, err := nats.Connect(n.users.URL(), nats.UserCredentialBytes(s.users[r].first.creds),
			nats.Timeout(2*time.Second),
			nats.NoReconnect(), quiet)
		if err == nil {
			s.visited.Add(1)
			nc.Close()
		}
		pause(s.ctx, upTo(rng, 100*time.Millisecond))
	}
}

// any picks an account, some more often than others.
func (s *soak) any(rng *rand.Rand) *accountModel {
	if rng.IntN(2) == 0 {
		return s.models[rng.IntN(4)]
	}
	return s.models[rng.IntN(len(s.models))]
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// upTo is a random time below d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}
