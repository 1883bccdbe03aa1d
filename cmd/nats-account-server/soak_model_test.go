package main_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// accountModel says what must be true of one account, from all that its pushers and getters saw.
//
// Pushes and looks take time and overlap, so each has a moment when it began and one when it ended.
// A push that was accepted took effect somewhere in between; one whose answer never came may have
// taken effect, then or never; one that was refused has not. From this follows what a look may see:
//
//   - a version that was sent, and not one whose every push was refused;
//
//   - none with an older iat than one that was acknowledged, or seen, before the look began;
//
//   - none whose last push had ended before one began that was acknowledged before the look;
//     unless both are of one second and the other server that still has it wins.
type accountModel struct {
	*jwttest.Account

	mu       sync.Mutex
	now      int // counts the moments
	versions map[string]*version
	all      []*version // in the order they were made
	etags    map[string]*version
	newest   int64 // the greatest iat that was made
	floor    floor
	past     []string // what happened last, for people
}

// floor is what no look that begins now may see below.
type floor struct {
	known bool  // something is stored
	iat   int64 // of the newest that is certainly stored
	begun int   // when the latest push began of those that have been acknowledged
}

// version is a JWT of the account.
type version struct {
	token    []byte
	number   int // in the order of making, 0 is the first
	iat      int64
	revokes  bool // it revokes the account's second user
	sent     bool // the operator signed it and it was sent
	inFlight int  // pushes without an reply yet
	stored   bool // a push was accepted, or may have been
	seen     bool // by some look
	last     int  // when the last push ended that may have stored it
}

// never is the end of a push without an answer.
const never = math.MaxInt

// push is one attempt to push a version.
type push struct {
	*version
	began int
	floor floor
}

func newAccountModel(a *jwttest.Account, oldest time.Time) *accountModel {
	return &accountModel{Account: a, versions: map[string]*version{}, etags: map[string]*version{},
		newest: oldest.Unix()}
}

// madeLocked adds a new version. Its iat may be any. r.mu must be held.
func (r *accountModel) madeLocked(token []byte, iat int64, revokes bool) *version {
	v := &version{token: token, number: len(r.all), iat: iat, revokes: revokes}
	r.versions[string(token)] = v
	r.all = append(r.all, v)
	r.newest = max(r.newest, iat)
	return v
}

// tickLocked is the next moment. r.mu must be held.
func (r *accountModel) tickLocked() int {
	r.now++
	return r.now
}

// send begins a push.
func (r *accountModel) send(v *version) *push {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.sent = true
	v.inFlight++
	return &push{version: v, began: r.tickLocked(), floor: r.floor}
}

var storedLine = regexp.MustCompile(`^stored; (((acknowledged by \d+ of \d+ nats-servers?|` +
	`\d+ of \d+ acknowledged so far)(, not in use on \d+)?|` +
	`not in use on (any of \d+ nats-servers|the only nats-server))` +
	`(; \d+ more ha(s|ve) not answered yet)?|` +
	`no nats-server has answered yet|NATS is not connected: will be sent when it is)\n$`)

// answered ends a push. The error says what is wrong with the answer.
func (r *accountModel) answered(p *push, status int, body string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.inFlight--
	r.rememberLocked("push of %s: %d %s", p.version, status, strings.TrimSpace(body))
	switch status {
	case 200:
		return r.acceptedLocked(p, body)
	case 409:
		return r.refusedLocked(p)
	}
	return fmt.Errorf("the push of %s is answered with %d %s", p.version, status, body)
}

func (r *accountModel) acceptedLocked(p *push, body string) error {
	p.stored = true
	p.last = max(p.last, r.tickLocked())
	r.floor.raise(p.iat)
	r.floor.begun = max(r.floor.begun, p.began)
	switch {
	case p.iat < p.floor.iat:
		return fmt.Errorf("%s was let in, but before it was sent one of iat %d was stored",
			p.version, p.floor.iat)
	case !storedLine.MatchString(body):
		return fmt.Errorf("the reply to %s is %q", p.version, body)
	}
	return nil
}

// refusedLocked takes a 409, which needs a reason: a newer version that is stored, or one of the
// same second that has replaced it. r.mu must be held.
func (r *accountModel) refusedLocked(p *push) error {
	if p.seen && !p.stored && p.inFlight == 0 {
		return fmt.Errorf("%s was served and is refused", p.version)
	}
	for _, v := range r.all {
		replaced := v != p.version && v.iat == p.iat && (p.stored || p.inFlight > 0)
		if (v.iat > p.iat || replaced) && (v.stored || v.inFlight > 0) {
			return nil
		}
	}
	return fmt.Errorf("%s is refused as older, but no newer one was ever pushed", p.version)
}

// broken ends a push without an answer.
func (r *accountModel) broken(p *push, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.inFlight--
	p.stored, p.last = true, never
	r.rememberLocked("push of %s: no reply, %v", p.version, err)
}

// look begins a look at what is stored.
func (r *accountModel) look() floor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.floor
}

// saw ends a look that got a JWT. The error says why it should not have got that.
func (r *accountModel) saw(began floor, how string, token []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.versions[string(token)]
	if v == nil {
		r.rememberLocked("%s: %d bytes that were never made", how, len(token))
		return fmt.Errorf("%s gives %d bytes that are no version of it: %q", how, len(token), token)
	}
	return r.sawVersionLocked(began, how, v)
}

// sawSignature ends a look that got only the last part of a JWT.
func (r *accountModel) sawSignature(began floor, how string, signature string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.all {
		if bytes.HasSuffix(v.token, []byte("."+signature)) {
			return r.sawVersionLocked(began, how, v)
		}
	}
	return fmt.Errorf("%s gives a signature that was never made: %q", how, signature)
}

// returns says whether a version that another one of the same second has replaced may come back: a
// nats-server that keeps JWTs may still have had it, and between servers the greater SHA-256 wins.
func (r *accountModel) returns(v *version) bool {
	for _, other := range r.all {
		if mine, theirs := sha256.Sum256(v.token),
			sha256.Sum256(other.token); other.iat == v.iat && other.stored &&
			bytes.Compare(mine[:], theirs[:]) > 0 {
			return true
		}
	}
	return false
}

func (r *accountModel) sawVersionLocked(began floor, how string, v *version) error {
	if !v.seen || v != r.all[len(r.all)-1] {
		r.rememberLocked("%s: %s", how, v)
	}
	v.seen = true
	r.floor.raise(v.iat)
	switch {
	case !v.sent || !v.stored && v.inFlight == 0:
		return fmt.Errorf("%s gives %s, which was never let in", how, v)
	case v.iat < began.iat:
		return fmt.Errorf("%s gives %s, but one of iat %d was stored before", how, v, began.iat)
	case v.inFlight == 0 && v.last < began.begun && !r.returns(v):
		return fmt.Errorf("%s gives %s, which another one has replaced", how, v)
	}
	return nil
}

// sawETag ends a look that got an ETag. Of one version it is always the same, and of two it never
// is.
func (r *accountModel) sawETag(etag string, token []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.versions[string(token)]
	if had := r.etags[etag]; had != nil && had != v {
		return fmt.Errorf("%s and %s have the same ETag %s", had, v, etag)
	}
	r.etags[etag] = v
	return nil
}

// sawKnown ends a look that only got to hear that it has the latest already.
func (r *accountModel) sawKnown(began floor, how string, etag string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.etags[etag]
	if v == nil {
		return fmt.Errorf("%s knows the ETag %s that it never gave", how, etag)
	}
	return r.sawVersionLocked(began, how, v)
}

// sawNothing ends a look that got a 404.
func (r *accountModel) sawNothing(began floor, how string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !began.known {
		return nil
	}
	r.rememberLocked("%s: 404", how)
	return fmt.Errorf("%s finds nothing, but one of iat %d was stored before", how, began.iat)
}

// etag is one that was given, or "".
func (r *accountModel) etag() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.etags { // any
		return e
	}
	return ""
}

// rememberLocked keeps the last things that happened to the account. r.mu must be held.
func (r *accountModel) rememberLocked(format string, args ...any) {
	const most = 60
	if len(r.past) >= 2*most {
		r.past = append(r.past[:0], r.past[most:]...)
	}
	r.past = append(r.past, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (r *accountModel) history() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.past[max(0, len(r.past)-60):], "\n")
}

func (f *floor) raise(iat int64) {
	f.known = true
	f.iat = max(f.iat, iat)
}

func (v *version) String() string { return fmt.Sprintf("version %d (iat %d)", v.number, v.iat) }

// Each row shows the model one answer that is wrong after a few that are right.
func TestTheModelNoticesEveryWrongAnswer(t *testing.T) {
	type answers struct {
		*accountModel
		v []*version
	}
	const stored = "stored; acknowledged by 3 of 3 nats-servers\n"
	push := func(w answers, v *version,
		status int) error {
		return w.answered(w.send(v), status, stored)
	}
	for name, wrong := range map[string]func(w answers) error{
		"an older one is served": func(w answers) error {
			push(w, w.v[1], 200)
			return w.saw(w.look(), "GET", w.v[0].token)
		},
		"an older one is let in": func(w answers) error {
			push(w, w.v[1], 200)
			return push(w, w.v[0], 200)
		},
		"one that was never sent is served": func(w answers) error {
			return w.saw(w.look(), "GET", w.v[1].token)
		},
		"half of one is served": func(w answers) error {
			push(w, w.v[1], 200)
			return w.saw(w.look(), "GET", w.v[1].token[:1])
		},
		"nothing is served": func(w answers) error {
			push(w, w.v[1], 200)
			return w.sawNothing(w.look(), "GET")
		},
		"a refused one is served": func(w answers) error {
			push(w, w.v[1], 200)
			push(w, w.v[0], 409)
			return w.saw(floor{}, "GET", w.v[0].token)
		},
		"a served one is refused": func(w answers) error {
			p := w.send(w.v[0])
			_ = w.saw(w.look(), "GET", w.v[0].token)
			push(w, w.v[1], 200)
			return w.answered(p, 409, "")
		},
		"one is refused for no reason": func(w answers) error { return push(w, w.v[1], 409) },
		"one is refused as bad":        func(w answers) error { return push(w, w.v[1], 400) },
		"a replaced one is served": func(w answers) error {
			lesser, greater := w.v[1], w.v[2]
			if w.returns(lesser) { // nothing is stored yet, so it says no: the order is that of the hashes
				t.Error("it returns before anything was replaced")
			}
			a, b := sha256.Sum256(lesser.token), sha256.Sum256(greater.token)
			if bytes.Compare(a[:], b[:]) > 0 {
				lesser, greater = greater, lesser
			}
			push(w, lesser, 200)
			push(w, greater, 200)
			return w.saw(w.look(), "GET", lesser.token)
		},
		"the same ETag stands for two": func(w answers) error {
			_ = w.sawETag("e", w.v[0].token)
			return w.sawETag("e", w.v[1].token)
		},
		"what was seen is gone": func(w answers) error {
			w.broken(w.send(w.v[1]), nil)
			_ = w.saw(w.look(), "GET", w.v[1].token)
			return w.sawNothing(w.look(), "GET")
		},
		"the reply is an unknown line": func(w answers) error {
			return w.answered(w.send(w.v[0]), 200, "stored\n")
		},
		"a 304 for an ETag of no account": func(w answers) error {
			return w.sawKnown(w.look(), "GET", "e")
		},
	} {
		w := answers{accountModel: newAccountModel(&jwttest.Account{ID: "A"}, time.Unix(0, 0))}
		for i, iat := range []int64{10, 20, 20} {
			w.v = append(w.v, w.madeLocked([]byte(fmt.Sprint("token", i)), iat, false))
		}
		if wrong(w) == nil {
			t.Errorf("%s, and the model does not notice", name)
		}
	}
}

func TestTheModelAllowsAnswersThatLookOddAndAreRight(t *testing.T) {
	r := newAccountModel(&jwttest.Account{ID: "A"}, time.Unix(0, 0))
	a, b, c := r.madeLocked([]byte("a"), 10, false), r.madeLocked([]byte("b"), 20, false),
		r.madeLocked([]byte("c"), 20, false)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	early := r.look()
	must(r.sawNothing(early, "GET"))
	lost := r.send(a)
	must(r.saw(r.look(), "GET", []byte("a"))) // before its reply
	r.broken(lost, nil)
	first, second := r.send(b), r.send(c)
	must(r.answered(second, 200, "stored; 2 of 3 acknowledged so far, not in use on 1\n"))
	must(r.answered(first, 200, "stored; NATS is not connected: will be sent when it is\n"))
	must(r.saw(r.look(), "GET", []byte("b"))) // they overlapped: either may be the later one
	must(r.saw(r.look(), "GET", []byte("c")))
	must(r.saw(early, "GET", []byte("a"))) // a look that has taken its time
	must(r.answered(r.send(a), 409, "a newer JWT is stored"))
}
