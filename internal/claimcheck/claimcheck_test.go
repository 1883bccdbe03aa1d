package claimcheck_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

var (
	claims = flag.Int("claims", 500, "how many random claims are put to nats-server")
	seed   = flag.Uint64("seed", 1, "of the random claims")
)

// resolver is a nats-server with a full resolver.
type resolver struct {
	*nats.Conn
}

func startResolver(t *testing.T, o *jwttest.Operator) resolver {
	t.Helper()
	s := natstest.Start(t, natstest.DirConf(t, o, "full", t.TempDir(), natstest.AnyPort))
	creds, _ := o.System.User(t)
	return resolver{natstest.Connect(t, s.ClientURL(), creds)}
}

// update returns why nats-server refuses a JWT, "" if it takes it.
func (r resolver) update(t *testing.T, account string, token []byte) string {
	t.Helper()
	reply, err := r.Request("$SYS.REQ.ACCOUNT."+account+".CLAIMS.UPDATE", token, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var answer server.ServerAPIClaimUpdateResponse
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Error == nil {
		return ""
	}
	return answer.Error.Description
}

// ours returns what we have against a JWT. exact says that nats-server gives one of these reasons.
func ours(t *testing.T, token []byte) (reasons []string, exact bool) {
	t.Helper()
	c, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		return []string{err.Error()}, false
	}
	var found jwt.ValidationResults
	c.Validate(&found)
	if found.IsBlocking(false) {
		return []string{fmt.Sprint(found.Errors())}, false
	}
	for _, reason := range claimcheck.Reasons(c, false) {
		reasons = append(reasons, "jwt validation failed - "+reason.Error())
	}
	return reasons, true
}

// TestRandomClaimsAreJudgedAsNatsServerDoes puts claims to the code that will judge them in
// earnest. To run more of them: go test ./internal/claimcheck -claims 100000
func TestRandomClaimsAreJudgedAsNatsServerDoes(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	r := startResolver(t, o)
	_, user := a.User(t)
	g := newGenerator(*seed, user, a.ID, jwttest.AccountKey(t))
	counts := map[string]int{}
	for n := range *claims {
		// A stored JWT with the same iat is replaced.
		token := o.Account(t, a, g.edit)
		theirs := r.update(t, a.ID, token)
		reasons, exact := ours(t, token)
		switch {
		case (theirs == "") != (reasons == nil), exact && theirs != "" &&
			!slices.Contains(reasons, theirs):
			body := strings.Split(string(token), ".")[1]
			t.Errorf("claims %d of -seed %d:\nnats-server: %s\nhere: %q\n%s", n, *seed,
				theirs, reasons, body)
		case theirs == "":
			counts["taken"]++
		case exact:
			counts["refused by this package"]++
		default:
			counts["refused by Validate"]++
		}
	}
	t.Log(counts)
	for _, what := range []string{"taken", "refused by Validate", "refused by this package"} {
		if counts[what] < *claims/20 {
			t.Errorf("too few are %s: the generator must be changed", what)
		}
	}
}

// TestTheVersionIsThatOfTheTests fails when go.mod has another nats-server: its checks must be read
// again then, and the manual names the version too.
func TestTheVersionIsThatOfTheTests(t *testing.T) {
	if !strings.HasPrefix(server.VERSION, claimcheck.Version+".") {
		t.Errorf("the checks are those of %s, but the tests run nats-server %s", claimcheck.Version,
			server.VERSION)
	}
}

// FuzzMapping compares one mapping with nats-server's own functions.
func FuzzMapping(f *testing.F) {
	g := newGenerator(1)
	for range 300 {
		from := g.subject()
		f.Add(from, g.destination(from))
	}
	f.Fuzz(func(t *testing.T, from, to string) {
		c := &jwt.AccountClaims{}
		c.Mappings = jwt.Mapping{jwt.Subject(from): {{Subject: jwt.Subject(to)}}}
		var found jwt.ValidationResults
		if c.Mappings.Validate(&found); found.IsBlocking(false) {
			return
		}
		want := ""
		if !server.IsValidSubject(from) {
			want = fmt.Sprintf("mapping %q: %v", from, server.ErrBadSubject)
		} else if err := server.ValidateMapping(from, to); err != nil {
			want = fmt.Sprintf("mapping %q -> %q: %v", from, to, err)
		}
		got := ""
		if reasons := claimcheck.Reasons(c, false); reasons != nil {
			got = reasons[0].Error()
		}
		if got != want {
			t.Errorf("here:        %s\nnats-server: %s", got, want)
		}
	})
}

// fatal is the log of a nats-server that keeps what it would end with, a line for each.
type fatal struct{ *natstest.Log }

func (l fatal) Fatalf(format string, v ...any) { fmt.Fprintf(l, format+"\n", v...) }
func (fatal) Noticef(string, ...any)           {}
func (fatal) Warnf(string, ...any)             {}
func (fatal) Errorf(string, ...any)            {}
func (fatal) Debugf(string, ...any)            {}
func (fatal) Tracef(string, ...any)            {}

// TestNatsServerWithJetStreamDoesNotStart if the system account has JetStream: it takes such an
// update, and ends at its next start.
func TestNatsServerWithJetStreamDoesNotStart(t *testing.T) {
	o := jwttest.NewOperator(t)
	disk := func(c *jwt.AccountClaims) { c.Limits.DiskStorage = -1 }
	tiers := func(c *jwt.AccountClaims) {
		c.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {MemoryStorage: 1}}
	}
	streams := func(c *jwt.AccountClaims) { c.Limits.Streams = 1 } // no storage
	for _, c := range []struct {
		name      string
		edit      func(*jwt.AccountClaims)
		jetStream bool // of the nats-server
		starts    bool
	}{
		{"no JetStream", func(*jwt.AccountClaims) {}, true, true},
		{"a limit without storage", streams, true, true},
		{"storage", disk, true, false},
		{"a tier", tiers, true, false},
		{"storage, and a nats-server without JetStream", disk, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := o.Account(t, o.System, c.edit)
			conf := fmt.Sprintf("listen: \"127.0.0.1:-1\"\noperator: %s\nresolver: MEMORY\n"+
				"resolver_preload { %s: %s }\n", o.Token(t), o.System.ID, token)
			if c.jetStream {
				conf += fmt.Sprintf("jetstream { store_dir: %q }\n", t.TempDir())
			}
			ended := startAndEnd(t, conf)
			claims, err := jwt.DecodeAccountClaims(string(token))
			if err != nil {
				t.Fatal(err)
			}
			reasons := claimcheck.Reasons(claims, true)
			if (ended == "") != c.starts || c.jetStream && (ended == "") != (reasons == nil) {
				t.Errorf("nats-server: %q, here %q", ended, reasons)
			}
			if ended != "" && !strings.EqualFold(ended, reasons[0].Error()) {
				t.Errorf("nats-server: %q, here %q", ended, reasons)
			}
			if reasons := claimcheck.Reasons(claims, false); reasons != nil {
				t.Errorf("another account is refused: %q", reasons)
			}
		})
	}
}

// startAndEnd starts a nats-server and returns why it would end then, "" if it would not.
func startAndEnd(t *testing.T, conf string) string {
	t.Helper()
	o, err := server.ProcessConfigFile(jwttest.File(t, t.TempDir(),
		"nats-server.conf", []byte(conf)))
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs = true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	log := fatal{&natstest.Log{}}
	s.SetLogger(log, false, false)
	s.Start()
	natstest.Stop(s)
	first, _, _ := strings.Cut(log.String(), "\n") // it goes on here
	return first
}
