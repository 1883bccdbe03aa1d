package notifier

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Replies go to <inbox>.<what>.<rest>, where what is one of these or, for an announcement, the account's key.
const (
	replyIDZ  = "idz"
	replyPing = "ping"
	replyRuns = "runs"
	replyHas  = "has"
)

// replyTo is where the answers to a question go.
func replyTo(subject string) string {
	if subject == idzSubject {
		return replyIDZ
	}
	return replyPing
}

// serverID is who a nats-server is. It says that in "server" of every answer but the one to idzSubject.
type serverID struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// reply is what nats-servers answer, to a PING and to an update.
type reply struct {
	serverID // of an answer to idzSubject
	Server   struct {
		serverID
		Version string    `json:"ver"`
		Time    time.Time `json:"time"`
	} `json:"server"`
	Stats struct {
		Start         time.Time `json:"start"`          // of the process
		ActiveServers int       `json:"active_servers"` // that this one knows of, itself included
	} `json:"statsz"`
	Data *struct {
		Message string `json:"message"`
		Detail  *struct {
			JWT string `json:"jwt"`
		} `json:"account_detail"`
	} `json:"data"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

// accountServer is the name under which other account servers answer: they are not owed anything.
const accountServer = "nats-account-server"

// parse reads an answer. A nats-server always says who it is. What it says ends up in logs, and its id in subjects.
func parse(data []byte) (r reply, ok bool) {
	if json.Unmarshal(data, &r) != nil {
		return r, false
	}
	if r.Server.Name == "" {
		r.Server.serverID = r.serverID
	}
	r.Server.Name, r.Server.Version = harmless(r.Server.Name, 128), harmless(r.Server.Version, 32)
	if r.Error != nil {
		r.Error.Description = harmless(r.Error.Description, 512)
	}
	return r, r.Server.Name != "" && r.Server.Name != accountServer && isID(r.Server.ID)
}

// isID says whether an id can be part of a subject. A real one is a public server key; "" asks for nothing.
func isID(id string) bool {
	return len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// harmless makes a text fit for one line of a log.
func harmless(text string, most int) string {
	q := strconv.QuoteToASCII(text[:min(len(text), most)])
	return q[1 : len(q)-1]
}

// hear takes every message that comes to the session's inbox.
func (s *session) hear(m *nats.Msg) {
	below, ours := strings.CutPrefix(m.Subject, s.inbox+".")
	if !ours {
		return
	}
	what, rest, _ := strings.Cut(below, ".")
	unanswered := m.Header.Get("Status") == "503"
	r, ok := reply{}, false
	if !unanswered {
		if r, ok = parse(m.Data); !ok {
			return
		}
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	switch now := time.Now(); what {
	case replyIDZ:
		if !unanswered { // nobody is 2.10 or later: that says nothing about who is there
			s.pong(r, now)
		}
	case replyPing:
		if unanswered {
			s.meetBy = now
			s.prod()
			return
		}
		s.pong(r, now)
	case replyRuns:
		s.runs(rest, r, unanswered)
	case replyHas:
		s.has(rest, r, unanswered, now)
	default:
		s.answered(what, rest, r, unanswered, now)
	}
}

// parseReply reads the end of a reply subject, "<seq>.<number>". What is none is an attempt that never was.
func parseReply(s string) (seq uint64, number int) {
	a, b, _ := strings.Cut(s, ".")
	seq, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return 0, 0
	}
	if number, err = strconv.Atoi(b); err != nil {
		return 0, 0
	}
	return seq, number
}

// answered takes one nats-server's answer to an announcement. One that comes after its attempt has ended counts all
// the same.
func (s *session) answered(key, attempt string, r reply, unanswered bool, now time.Time) {
	seq, number := parseReply(attempt)
	if s.n.Outbox.PendingFor(key).Seq != seq {
		seq = 0 // superseded, or settled: there is nothing to acknowledge
	}
	it := s.items[key]
	current := it != nil && it.Seq == seq && it.attempt == number && number > 0
	if unanswered {
		if current && it.flying {
			if len(s.peers) > 0 {
				it.refuse("", "nobody listens to account updates")
			}
			s.conclude(it, now)
		}
		return
	}
	name, p := s.greet(r.Server.serverID, now)
	s.weigh(name, p, seq, it, current, r)
	s.isBack(name, p, now)
	if it = s.items[key]; it == nil || s.settle(it) || !current {
		return
	}
	it.heard[name] = true
	switch {
	case it.flying && s.allHeard(it):
		s.conclude(it, now)
	case it.idle():
		s.putOff(it, now)
	}
}

// weigh says what an answer means: first whether it is an error, then what was done with the JWT.
func (s *session) weigh(name string, p *peer, seq uint64, it *item, current bool, r reply) {
	p.caches = p.caches || r.Data != nil && strings.Contains(r.Data.Message, " cache")
	switch meaning(r) {
	case failed:
		s.complain(fmt.Sprintf("nats-server %s refuses the update of %s: %s", name, r.account(it), r.Error.Description))
		if current {
			it.refuse(name, r.Error.Description)
		}
	case nothing:
		if current {
			it.refuse(name, "it answers, but neither with data nor with an error")
		}
	case applied:
		s.n.Outbox.Acknowledge(name, seq)
	case cacheSkipped:
		if it != nil && it.Seq == seq {
			s.chill(it, name)
		}
	case skipped:
		p.fetches = true
		s.excuse(name, p)
		if current && it.sent.Sub(it.At) >= skipWindow {
			s.n.Outbox.Acknowledge(name, seq)
		} else if current {
			it.early = true
		}
	}
}

// The meanings of an answer to an announcement.
const (
	nothing      = iota
	failed       // the JWT was not taken
	applied      // it was, and is what this server runs, or will once somebody needs the account
	skipped      // this server does not have the account loaded, and fetches it when it needs it
	cacheSkipped // this server's cache does not have it; it may get an older one elsewhere
)

func meaning(r reply) int {
	switch {
	case r.Error != nil:
		return failed
	case r.Data == nil:
		return nothing
	case strings.Contains(r.Data.Message, "cache skipped"):
		return cacheSkipped
	case strings.Contains(r.Data.Message, "skipped"):
		return skipped
	default:
		return applied
	}
}

func (reply) account(it *item) string {
	if it == nil {
		return "an account"
	}
	return short(it.Key)
}

// chill notes that a cache does not have the account: the change waits until somebody connects to it there.
func (s *session) chill(it *item, name string) {
	if it.cold == nil {
		it.cold = map[string]bool{}
	}
	it.cold[name], s.cold = true, true
	s.prod()
}

// connected hears that somebody has connected to an account.
func (s *session) connected(m *nats.Msg) {
	key := strings.TrimSuffix(strings.TrimPrefix(m.Subject, "$SYS.ACCOUNT."), ".CONNECT")
	s.n.mu.Lock()
	defer s.n.unlock()
	it := s.items[key]
	if it == nil || len(it.cold) == 0 { // nearly always
		return
	}
	r, ok := parse(m.Data)
	if !ok || !it.cold[r.Server.Name] {
		return
	}
	delete(it.cold, r.Server.Name)
	if it.warmed = true; it.idle() {
		s.putOff(it, time.Now())
	}
}

// allHeard says that everybody has answered who lacks the change and answers at all.
func (s *session) allHeard(it *item) bool {
	for name, p := range s.peers {
		if !p.silent && !it.heard[name] && s.n.Outbox.IsPending(name, it.Seq) {
			return false
		}
	}
	return true
}
