package main_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/natstest"
)

// TestTheQuickStartWorksAsTheReadmeSays follows the README with the files that it names, on free
// ports and another directory.
func TestTheQuickStartWorksAsTheReadmeSays(t *testing.T) {
	t.Chdir("../..")
	natsPort := freePort(t)
	p := start(t, ".", nil, "-c", "conf/quickstart.conf", "-hp", "127.0.0.1:0", "-dir", t.TempDir(),
		"-nats", fmt.Sprintf("nats://127.0.0.1:%d", natsPort))
	url := p.url()
	file := func(name string) []byte {
		t.Helper()
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	natsConf := strings.NewReplacer("127.0.0.1:4222", fmt.Sprintf("127.0.0.1:%d", natsPort),
		"http://localhost:9090", url).
		Replace(string(file("conf/nats-server-quickstart.conf")))
	n := natstest.Start(t, natsConf)
	p.wait("connected to NATS for account and activation notifications")

	account := url + "/jwt/v1/accounts/" +
		strings.TrimSpace(string(file("testdata/quickstart/account.key")))
	push := func(name string) (int, string) {
		return post(http.DefaultClient, account, file("testdata/quickstart/"+name))
	}
	if status, body := push("account.jwt"); status != http.StatusOK ||
		!strings.HasPrefix(body, "stored; ") {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := get(t, account+"?decode=true"); status != http.StatusOK ||
		!strings.Contains(body, `"name": "sample"`) {
		t.Errorf("%d %s", status, body)
	}
	out := make(chan struct{})
	natstest.Connect(t, n.ClientURL(), file("testdata/quickstart/user.creds"), nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) {
			close(out)
		}))
	if status, body := push("revoked.jwt"); status != http.StatusOK ||
		body != "stored; acknowledged by 1 of 1 nats-server\n" {
		t.Errorf("%d %s", status, body)
	}
	<-out
	if status, _ := push("account.jwt"); status != http.StatusConflict {
		t.Errorf("the JWT of before: %d", status)
	}
	p.term()
}
