package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"nats-account-server/internal/jwttest"
)

// TestAHalfWrittenFileIsNotReloaded: the file is read while another program writes it, up to the
// end of each of its lines, in two orders of its sections. The server stays where it is and as
// closed as it is.
func TestAHalfWrittenFileIsNotReloaded(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, s.dir, "logins.conf",
		fmt.Appendf(nil, "authorization {\n\twrite { user: ops, password: %q }\n}\n", hash))
	port := freePort(t)
	operator, nats := "operatorjwtpath: op.jwt\n",
		"nats {\n\tservers: [\"nats://127.0.0.1:1\"]\n}\n"
	web := fmt.Sprintf("http {\n\thost: 127.0.0.1\n\tport: %d\n\tinclude \"logins.conf\"\n}\n",
		port)
	store := "logging {\n\ttime: true\n}\nstore {\n\tdir: store\n}\n"
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("server.conf", store+operator+nats+web)
	p, url := s.start(t)
	hangup := func(want string) {
		t.Helper()
		p.signal(syscall.SIGHUP)
		p.wait(want)
		a := jwttest.NewAccount(t)
		if status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID,
			s.op.Account(t, a)); status != http.StatusUnauthorized {
			t.Fatalf("a push without a password is %d", status)
		}
	}
	for _, whole := range []string{store + operator + nats + web, web + operator + store + nats} {
		for written := ""; written != whole; {
			write("server.conf", written)
			hangup("the new configuration is refused, the old one goes on: ")
			line, _, _ := strings.Cut(whole[len(written):], "\n")
			written += line + "\n"
		}
		write("server.conf", whole)
		hangup("configuration reloaded")
	}
	lost := func(text, want string) {
		t.Helper()
		write("server.conf", text)
		hangup("refused, the old one goes on: .*server.conf has no " + want)
	}
	lost("", "http any more, and the server would move to localhost:9090: perhaps it is not "+
		"written to its end; if this is meant, restart the server")
	lost(web+operator+store, "nats any more, and changes would not be announced")
	logins, _ := os.ReadFile(filepath.Join(s.dir, "logins.conf"))
	write("logins.conf", "")
	lost(web+operator+nats, "http.authorization any more, and clients would need no password")
	write("logins.conf", string(logins))
	// What is said on purpose is taken, and keys that are taken out don't stay trusted.
	write("server.conf", web+nats+store)
	p.signal(syscall.SIGHUP)
	p.wait("No Operator is configured")
	p.wait("configuration reloaded")
	write("server.conf", web+operator+"nats {}\n")
	hangup("configuration reloaded")
	p.term()
}
