package accounts_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// modelStep is one step of a sequence, as text "server.do=what".
//
//	0.post=A3b/s     server 0 is sent the version A3b/s by POST
//	1.crash=         server 1 is killed
type modelStep struct {
	server int
	do     string // see modelActions
	what   string // "" if there is nothing to say
}

func (s modelStep) String() string { return fmt.Sprintf("%d.%s=%s", s.server, s.do, s.what) }

// modelAction is what a step can do.
type modelAction struct {
	name   string
	weight int  // how often it is drawn
	down   bool // it is done while the server is down; otherwise the server is started before
	draw   func(d *drawing) string
	do     func(s *modelServer, what string)
}

// modelActions are all the ways in, and everything that can happen in between.
var modelActions []modelAction

func init() {
	modelActions = []modelAction{
		{"post", 30, false, (*drawing).version, offering(byHTTP)},
		{"update", 10, false, (*drawing).version, offering(byUpdate)},
		{"relay", 4, false, (*drawing).version, offering(byOutbox)},
		{"pack", 6, false, (*drawing).version, offering(fromPeer)},
		{"primary", 4, false, (*drawing).version, offering(accounts.FromPrimary)},
		{"file", 4, false, (*drawing).version, offering(fromFile)},
		{"pull", 8, false, (*drawing).other, (*modelServer).pullFrom},
		{"race", 8, false, (*drawing).race, (*modelServer).race},
		{"reload", 6, false, (*drawing).reload, (*modelServer).reload},
		{"away", 2, false, (*drawing).version, (*modelServer).moveAway},
		{"replace", 1, false, nothing, (*modelServer).replace},
		{"cut", 2, false, (*drawing).cut, (*modelServer).cut},
		{"order", 12, false, (*drawing).order, (*modelServer).carryOut},
		{"unfile", 2, false, (*drawing).account, (*modelServer).removeFile},
		{"expire", 3, false, nothing, (*modelServer).expire},
		{"rescan", 3, false, nothing, (*modelServer).rescan},
		{"notify", 2, false, (*drawing).account, (*modelServer).announceAgain},
		{"settle", 1, false, nothing, func(s *modelServer, _ string) { s.settle() }},
		{"trust", 8, true, (*drawing).trust, (*modelServer).changeTrust},
		{"clock", 5, true, (*drawing).ahead, (*modelServer).setClock},
		{"hand", 4, true, (*drawing).version, (*modelServer).putByHand},
		{"unhand", 1, true, (*drawing).account, (*modelServer).removeByHand},
		{"older", 1, true, nothing, (*modelServer).changeOlder},
		{"shard", 2, true, nothing, (*modelServer).changeLayout},
		{"statedir", 2, true, (*drawing).stateDir, (*modelServer).changeStateDir},
		{"leave", 1, true, (*drawing).version, (*modelServer).leaveBehind},
		{"lose", 1, true, nothing, changingIndex(func(string, []byte) []byte { return nil })},
		{"damage", 1, true, (*drawing).damage, (*modelServer).damageIndex},
		{"revive", 1, true, nothing, (*modelServer).restoreIndex},
		{"stop", 3, true, nothing, func(s *modelServer, _ string) { s.stop() }},
		{"crash", 6, true, nothing, func(s *modelServer, _ string) { s.crash() }},
		{"start", 1, false, nothing, func(*modelServer, string) {}},
	}
}

// action returns the action with a name.
func action(name string) (a modelAction, ok bool) {
	for _, a := range modelActions {
		if a.name == name {
			return a, true
		}
	}
	return a, false
}

func (s *modelServer) version(name string) *modelVersion { return s.tokens.version(s.t, name) }

func offering(from accounts.Origin) func(*modelServer, string) {
	return func(s *modelServer, what string) {
		if from.File != s.readOnly && from.File { // a writable server has no files from a folder
			return
		}
		s.offer(s.version(what), from)
	}
}

func (s *modelServer) pullFrom(what string) {
	number, _ := strconv.Atoi(what)
	if other := s.servers[number%len(s.servers)]; other != s {
		s.pull(other)
	}
}

func (s *modelServer) carryOut(what string) {
	order, o := s.tokens.order(s.t, what)
	s.takeDeleted()
	_, _ = s.registry.Delete(context.Background(), order, onDeletion)
	s.ordered(o, s.takeDeleted())
}

func (s *modelServer) removeFile(account string) {
	if !s.readOnly {
		return
	}
	s.takeDeleted()
	if err := s.registry.Remove(context.Background(), s.tokens.key(account), fromFile); err != nil {
		s.fail("remove", "%s: %s", account, err)
	}
	for _, account := range s.takeDeleted() {
		s.memory[account].remove()
	}
}

func (s *modelServer) expire(string) {
	s.takeDeleted()
	if err := s.registry.Expire(context.Background()); err != nil {
		s.fail("unreadable", "%s", err)
	}
	s.expired(s.takeDeleted())
}

func (s *modelServer) rescan(string) {
	if err := s.registry.Rescan(context.Background()); err != nil {
		s.fail("unreadable", "%s", err)
	}
}

func (s *modelServer) announceAgain(account string) {
	if err := s.registry.Announce(context.Background(), s.tokens.key(account)); err != nil {
		s.fail("notify", "%s: %s", account, err)
	}
}

// changeTrust takes the letters of signers, and with a + the version that is the configured system
// account.
func (s *modelServer) changeTrust(what string) {
	name := ""
	s.trusting, name, _ = strings.Cut(what, "+")
	if s.system = nil; name != "" && s.trustsKey(name[4]) {
		s.system = s.version(name)
	}
	if s.store != nil {
		s.registry.SetTrust(s.tokens.trust(s.t, s.trusting, s.system))
		s.noteSystem()
	}
}

// noteSystem notes that the server knows the configured system account now. What is far ahead of
// the clock is not the newest version when the configuration does not have it any more.
func (s *modelServer) noteSystem() {
	if s.system != nil && s.system.issued <= s.clock().Unix()+300 {
		s.memory[s.system.account].configure(s.system)
	}
}

func (s *modelServer) setClock(what string) {
	ahead, _ := time.ParseDuration(what)
	s.ahead.Store(int64(ahead))
}

func (s *modelServer) changeOlder(string) { s.nextAllowOlder = !s.nextAllowOlder }

func (s *modelServer) changeLayout(string) { s.nextShard = !s.nextShard }

// changeStateDir takes the number of a state directory; 0: there is none. With files missing the store is
// not taken for one whose state is elsewhere.
func (s *modelServer) changeStateDir(what string) {
	for _, m := range s.memory {
		if m.gone {
			return
		}
	}
	s.nextStateDir = what
}

func (s *modelServer) leaveBehind(what string) { s.leave(s.version(what)) }

func (s *modelServer) putByHand(what string) { s.byHand(s.version(what)) }

func changingIndex(change func(path string, content []byte) []byte) func(*modelServer, string) {
	return func(s *modelServer, _ string) { s.changeIndex(change) }
}

// damageIndex overwrites a part of the index, or cuts it.
func (s *modelServer) damageIndex(what string) {
	permille, _ := strconv.Atoi(what)
	s.changeIndex(func(_ string, content []byte) []byte {
		at := len(content) * (permille % 1000) / 1000
		if permille >= 1000 {
			return content[:at]
		}
		copy(content[at:], bytes.Repeat([]byte{0xa5}, 64))
		return content
	})
}

// restoreIndex brings back the index of the end before.
func (s *modelServer) restoreIndex(string) {
	s.changeIndex(func(path string, content []byte) []byte {
		if old, known := s.oldIndex[path]; known {
			return old
		}
		return content
	})
}

// drawing draws a sequence.
type drawing struct {
	*rand.Rand
	servers  int
	versions []string // those drawn before: what comes again is worth more than what is new
	orders   []string // likewise
}

func nothing(*drawing) string { return "" }

// oneOf draws one of some letters. A letter that comes more than once is drawn more often.
func (d *drawing) oneOf(letters string) string {
	at := d.IntN(len(letters))
	return letters[at : at+1]
}

func (d *drawing) account() string { return d.oneOf("AAAAABSS") }

func (d *drawing) other() string { return fmt.Sprint(d.IntN(d.servers)) }

func (d *drawing) version() string {
	if len(d.versions) > 0 && d.IntN(100) < 45 {
		return d.versions[d.IntN(len(d.versions))]
	}
	v := d.account() + d.oneOf("12345") + d.oneOf("aaabbc") + "/" + d.oneOf("sssssootx")
	d.versions = append(d.versions, v)
	return v
}

func (d *drawing) order() string {
	if len(d.orders) > 0 && d.IntN(100) < 30 {
		return d.orders[d.IntN(len(d.orders))]
	}
	names := d.account()
	if names == "A" && d.IntN(4) == 0 {
		names = "AB"
	}
	o := names + d.oneOf("234566") + d.oneOf("ab") + "/" + d.oneOf("ssssox")
	d.orders = append(d.orders, o)
	return o
}

func (d *drawing) trust() string {
	signers := []string{"ost", "ost", "ot", "os", "st", "o", "x", "ostx", "osx", "stx"}[d.IntN(10)]
	if d.IntN(4) > 0 {
		return signers
	}
	return signers + "+S" + d.oneOf("12345") + "a/" + d.oneOf("so")
}

func (d *drawing) ahead() string {
	return []string{"0s", "0s", "-60s", "-1h", "-90000h", "1h", "90000h"}[d.IntN(7)]
}

func (d *drawing) stateDir() string { return d.oneOf("012") }

func (d *drawing) damage() string { return fmt.Sprint(d.IntN(2000)) }

// drawSequence draws the kinds of servers and some steps. Of a server that is down it mostly draws
// what happens meanwhile.
func drawSequence(r *rand.Rand) (kinds string, steps []modelStep) {
	kinds = []string{"D", "D", "D", "DD", "DM", "DDM", "DRD", "R", "M"}[r.IntN(9)]
	d := &drawing{Rand: r, servers: len(kinds)}
	isDown := make([]bool, len(kinds))
	for range 10 + d.IntN(60) {
		server := d.IntN(len(kinds))
		a := d.action(isDown[server] && d.IntN(3) > 0)
		steps = append(steps, modelStep{server, a.name, a.draw(d)})
		isDown[server] = a.down && (isDown[server] || a.name == "stop" || a.name == "crash")
	}
	return kinds, steps
}

// action draws an action by its weight. If down is set it is one for a server that is down.
func (d *drawing) action(down bool) modelAction {
	var possible []modelAction
	total := 0
	for _, a := range modelActions {
		if !down || a.down {
			possible = append(possible, a)
			total += a.weight
		}
	}
	at := d.IntN(total)
	for i, a := range possible {
		if at -= a.weight; at < 0 {
			return possible[i]
		}
	}
	panic("the weights do not add up")
}
