//go:build unix

package main_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
