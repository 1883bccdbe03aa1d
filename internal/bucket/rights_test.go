package bucket_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// Each permission that the manual lists is needed. If it is missing the log and the state of the server
// name it, and so does the answer to a push, which is not stored then.
func TestEachMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	// What is not here has a push refused.
	takesPushes := map[string]bool{"$JS.API.CONSUMER.CREATE.KV_B.>": true,
		"$JS.API.CONSUMER.DELETE.KV_B.>": true, "$JS.API.CONSUMER.MSG.NEXT.KV_B.>": true,
		"$SYS.REQ.SERVER.PING.JSZ": true}
	for _, missing := range listed() {
		t.Run(missing.verb+" "+missing.subject, func(t *testing.T) {
			t.Parallel()
			k := startKeeperWith(t, "", usersWith(slices.DeleteFunc(slices.Clone(listed()),
				func(p permission) bool { return p == missing })))
			if strings.Contains(missing.subject, "STREAM.UPDATE") { // which only a stream of others needs
				_, err := k.js(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_B",
					Subjects: []string{"$KV.B.>"}})
				must(t, err)
			}
			m := newMember(t, op).start(k)
			if missing.subject == "$SYS.REQ.SERVER.PING.JSZ" {
				return // see the test of the disks that sync
			}
			if strings.Contains(missing.subject, "CONSUMER.DELETE") { // which the history needs, too
				m.await()
				a := jwttest.NewAccount(t)
				m.mustPush(issue(t, op, a, 1))
				_, err := m.Revisions(t.Context(), a.ID)
				must(t, err)
			}
			natstest.Eventually(t, "the state names it", func() bool {
				s := m.Progress()
				return strings.Contains(s.Failing+s.Refusing+s.Denied, "add \""+missing.subject+"\" to")
			})
			natstest.Eventually(t, "the log names it", func() bool {
				return strings.Contains(m.log.String(), "add \""+missing.subject+"\" to")
			})
			natstest.Eventually(t, "the first session has ended, or the bucket is read", func() bool {
				return m.Progress().Failing != "" || m.Progress().CaughtUp
			})
			began := time.Now()
			err := m.push(issue(t, op, jwttest.NewAccount(t), 1))
			if takesPushes[missing.subject] {
				must(t, err)
				return
			}
			wantOutcome(t, err, accounts.NotStored)
			if err == nil || !strings.Contains(err.Error(), missing.subject) {
				t.Errorf("the client is told %v", err)
			}
			if took := time.Since(began); took >= m.options.Timeout {
				t.Errorf("the client is told after %s", took)
			}
		})
	}
}

// What a server could not do is told until it can: here the permission comes with the next connection.
func TestAPermissionThatIsGivenIsNoticed(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	publish := permission{"publish", "$KV.B.>"}
	without := usersWith(slices.DeleteFunc(slices.Clone(listed()),
		func(p permission) bool { return p == publish }))
	k := startKeeperWith(t, "", without)
	m, a := newMember(t, op).start(k).await(), jwttest.NewAccount(t)
	natstest.Eventually(t, "it is told", func() bool { return m.Progress().Refusing != "" })
	wantOutcome(t, m.push(issue(t, op, a, 1)), accounts.NotStored)
	k.conf = strings.Replace(k.conf, without, users, 1)
	k.restart(t)
	natstest.Eventually(t, "it is told no longer", func() bool { return m.Progress().Refusing == "" })
	m.mustPush(issue(t, op, a, 1))
	if n := strings.Count(m.log.String(), "may not publish"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// The shipped file for the nats-servers of a bucket has the permissions that the manual lists.
func TestTheShippedPermissionsAreThoseOfTheManual(t *testing.T) {
	t.Parallel()
	conf, err := os.ReadFile("../../conf/nats-server-bucket.conf")
	must(t, err)
	text := strings.ReplaceAll(string(conf), "ACCOUNT_JWTS", "B")
	_, text, _ = strings.Cut(text, "permissions {")
	text, _, _ = strings.Cut(text, "}")
	var shipped, want []string
	for _, found := range regexp.MustCompile(`"(\S+)"`).FindAllStringSubmatch(text, -1) {
		shipped = append(shipped, found[1])
	}
	for _, p := range listed() {
		want = append(want, p.subject)
	}
	slices.Sort(shipped)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(shipped, want) {
		t.Errorf("it has %q, the manual %q", shipped, want)
	}
}
