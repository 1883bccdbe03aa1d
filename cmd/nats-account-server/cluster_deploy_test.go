//go:build unix

package main_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestTheComposeFileOfManyMachinesWorks: its configuration files are used as they stand but for
// addresses, passwords and paths, and two of its account servers share an account.
func TestTheComposeFileOfManyMachinesWorks(t *testing.T) {
	t.Parallel()
	const dir = "../../conf/compose/"
	var c composeFile
	decodeYAML(t, mustReadFile(t, dir+"many-machines.yaml"), &c)
	k := newBucketCluster(t, "", "", "")
	for _, name := range []string{"kv1", "kv2", "kv3"} {
		kv := c.Services[name]
		if !slices.Contains(kv.Volumes, "../nats-server-bucket.conf:"+kv.Command[1]+":ro") ||
			!slices.Contains(kv.Volumes, name+":/var/lib/nats-bucket") || kv.Command[3] != name {
			t.Errorf("%s has %q and %q", name, kv.Volumes, kv.Command)
		}
	}
	n := natstest.Start(t, natstest.MemoryConf(t, jwttest.NewOperator(t), natstest.AnyPort))
	var urls []string
	for i, name := range []string{"account-server-1", "account-server-2"} {
		s := c.Services[name]
		host, inside, _ := strings.Cut(strings.TrimSuffix(s.Volumes[0], ":ro"), ":")
		if inside != s.Command[1] || s.Volumes[2] != fmt.Sprintf("accounts-%d:/nats/store", i+1) {
			t.Errorf("%s has %q and %q", name, s.Volumes, s.Command)
		}
		quickstart, err := filepath.Abs("../../testdata/quickstart")
		must(t, err)
		replace := []string{"/nats/quickstart", quickstart, "/nats/store", t.TempDir(),
			":sample@", ":secret@", "nats://nats-1:4222", n.ClientURL(), "nats://nats-2:4222", n.ClientURL()}
		for j, link := range k.machines[i].links {
			replace = append(replace, fmt.Sprintf("kv%d:4222", j+1),
				strings.TrimPrefix(link.URL(), "nats://"))
		}
		text := strings.NewReplacer(replace...).Replace(mustReadFile(t, dir+host))
		p := start(t, ".", nil, "-c", jwttest.File(t, t.TempDir(), "server.conf", []byte(text)),
			"-hp", "127.0.0.1:0")
		urls = append(urls, p.url())
		p.wait("the bucket ACCOUNT_JWTS has been read")
	}
	token := mustReadFile(t, "../../testdata/quickstart/account.jwt")
	claims, err := jwt.DecodeAccountClaims(token)
	must(t, err)
	mustPush(t, urls[0], claims.Subject, []byte(token))
	natstest.Eventually(t, "the other one serves it", func() bool {
		_, body := get(t, urls[1]+"/jwt/v1/accounts/"+claims.Subject)
		return body == token
	})
	// The file for real machines has the same keys.
	shipped := mustReadFile(t, "../../conf/many-machines.conf")
	for _, line := range strings.Split(mustReadFile(t, dir+"many-machines.conf"), "\n") {
		if key, _, isKey := strings.Cut(strings.TrimSpace(line), ":"); isKey &&
			!strings.HasPrefix(line, "#") && !strings.Contains(key, `"`) &&
			!strings.Contains(shipped, key+":") {
			t.Errorf("conf/many-machines.conf has no %s", key)
		}
	}
}

// TestTheServedNatsServersKeepTheBucket: the shipped file works as it stands but for addresses, paths,
// ids and JWTs. Such a nats-server starts without an account server, and has the bucket then.
func TestTheServedNatsServersKeepTheBucket(t *testing.T) {
	t.Parallel()
	op, kv, dir, port := jwttest.NewOperator(t), jwttest.NewAccount(t), t.TempDir(), freePort(t)
	limits := jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: 1, Consumer: -1}
	kvToken := op.Account(t, kv, func(c *jwt.AccountClaims) { c.Limits.JetStreamLimits = limits })
	shipped, _, _ := strings.Cut(mustReadFile(t, "../../conf/nats-server-full-bucket.conf"), "cluster {")
	conf := strings.NewReplacer(
		"0.0.0.0:4222", fmt.Sprintf("127.0.0.1:%d", port),
		"/etc/nats/operator.jwt", jwttest.File(t, dir, "op.jwt", []byte(op.Token(t))),
		"/var/lib/nats/jwt", t.TempDir(), "/var/lib/nats/jetstream", t.TempDir(),
		"A_SYSTEM", op.System.ID, "JWT_OF_SYSTEM", string(op.SystemAccount(t)),
		"A_KV", kv.ID, "JWT_OF_KV", string(kvToken),
	).Replace(shipped)
	n := natstest.Start(t, conf)
	jwttest.File(t, dir, "kv.creds", bucketUser(t, kv))
	system, _ := op.System.User(t)
	jwttest.File(t, dir, "sys.creds", system)
	p := start(t, dir, nil, "-c", jwttest.File(t, dir, "server.conf", fmt.Appendf(nil, `
		operatorjwtpath: op.jwt, http { host: 127.0.0.1, port: 0 }
		store { dir: store, shard: true, kv { servers: [%q], usercredentials: kv.creds, replicas: 1 } }
		nats { servers: [%q], usercredentials: sys.creds }`, n.ClientURL(), n.ClientURL())))
	url := p.url()
	waitReady(t, url)
	mustPush(t, url, kv.ID, kvToken)
	for _, line := range p.warnings() {
		// On a busy machine the nats-server may answer too late.
		isLate := strings.Contains(line, "no answer of the bucket's leader") ||
			strings.Contains(line, "i/o timeout") || strings.Contains(line, "will try to connect again")
		if !isLate {
			t.Errorf("it warns: %s", line)
		}
	}
	p.term()
	natstest.Stop(n)

	n = natstest.Start(t, conf)
	admin, _ := kv.User(t)
	nc := natstest.Connect(t, n.ClientURL(), admin)
	natstest.Eventually(t, "the bucket is there", func() bool {
		m, err := nc.Request("$JS.API.STREAM.INFO."+bucketStream, nil, time.Second)
		return err == nil && !strings.Contains(string(m.Data), `"messages":0`)
	})
}

// bucketUser makes the creds of a user with the permissions that conf/nats-server-bucket.conf has.
func bucketUser(t *testing.T, a *jwttest.Account) []byte {
	t.Helper()
	_, list, _ := strings.Cut(mustReadFile(t, "../../conf/nats-server-bucket.conf"), "publish: [")
	list, _, _ = strings.Cut(list, "]")
	creds, _ := a.User(t, func(c *jwt.UserClaims) {
		for _, subject := range strings.Fields(list) {
			c.Pub.Allow.Add(strings.Trim(subject, `"`))
		}
		c.Sub.Allow.Add("_INBOX.>")
	})
	return creds
}
