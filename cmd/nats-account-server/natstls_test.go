package main_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// The original dials in vain for ever.
func TestMisconfiguredTLSForNATSIsAnErrorAtStart(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	ca := certtest.New(t)
	root := ca.Write(t, s.dir, "ca")
	cert, key := ca.Issue(t).Write(t, s.dir, "a")
	_, stranger := ca.Issue(t).Write(t, s.dir, "b")
	rubbish := jwttest.File(t, s.dir, "rubbish.pem",
		[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	for _, c := range []struct{ tls, want string }{
		{"root: none.pem", "error loading nats.tls.root: open " + s.dir +
			"/none.pem: no such file"},
		{"root: " + rubbish,
			"error loading nats.tls.root: there is no PEM certificate in " + rubbish},
		{"root: " + key, "error loading nats.tls.root: there is no PEM certificate in " + key},
		{"cert: none.pem, key: " + key, "error loading nats.tls.cert " + s.dir + "/none.pem with " +
			"nats.tls.key " + key + ": open " + s.dir + "/none.pem: no such file"},
		{"cert: " + cert + ", key: none.pem", "error loading nats.tls.cert " + cert + " with " +
			"nats.tls.key " + s.dir + "/none.pem: open " + s.dir + "/none.pem: no such file"},
		{"cert: " + rubbish + ", key: " + key, "error loading nats.tls.cert " + rubbish},
		{"cert: " + cert + ", key: " + root,
			"with nats.tls.key " + root + ": tls: found a certificate rather than a key"},
		{"cert: " + cert + ", key: " + stranger,
			"with nats.tls.key " + stranger + ": tls: private key does not match public key"},
		{"root: " + root + ", cert: " + cert, "server.conf:5:"},
	} {
		path := conf(t, s.dir,
			"operatorjwtpath: op.jwt\nhttp { host: 127.0.0.1, port: 0 }\nstore { "+
				"dir: store }\n"+
				"# no server listens here\nnats { servers: [\"nats://127.0.0.1:1\"], tls { %s } }",
			c.tls)
		for _, flags := range [][]string{{"-c", path}, {"-t", "-c", path}} {
			p := start(t, s.dir, nil, flags...)
			if code := p.exited(); code != 1 || !strings.Contains(p.log.String(), c.want) {
				t.Errorf("%s: exit code %d, wanted: %s\n%s", c.tls, code, c.want, p.log)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "store")); err == nil {
		t.Error("the store was opened all the same")
	}
}

// tlsEnv is a nats-server that wants a certificate from every client, and the program, which has
// one in a.crt.
type tlsEnv struct {
	*testEnv
	ca   *certtest.Authority
	nats *server.Server
	p    *process
	url  string
}

func newTLSEnv(t *testing.T) *tlsEnv {
	t.Helper()
	s := &tlsEnv{ca: certtest.New(t)}
	port := freePort(t)
	s.testEnv = newEnv(t, "", fmt.Sprintf(`nats {
		servers: ["nats://127.0.0.1:%d"], usercredentials: sys.creds, reconnectwait: 100
		tls { root: ca.crt, cert: a.crt, key: a.key }
	}
	http { readtimeout: 5m }`, port)) // as long as a test may keep a connection without a request
	root := s.ca.Write(t, s.dir, "ca")
	cert, key := s.ca.Issue(t).Write(t, s.dir, "nats")
	s.renew(t, "one")
	s.nats = natstest.Start(t, natstest.MemoryConf(t, s.op, fmt.Sprintf(
		"listen: 127.0.0.1:%d\ntls { cert_file: %q, key_file: %q, ca_file: %q, verify: true, "+
			"timeout: 5 }\n", port, cert, key, root)))
	s.p, s.url = s.start(t)
	s.p.wait("connected to NATS for account")
	return s
}

// renew gives the program another certificate.
func (s *tlsEnv) renew(t *testing.T, name string) {
	t.Helper()
	s.ca.Issue(t, certtest.Named(name)).Write(t, s.dir, "a")
}

// reload asks for a reload and waits for a line of the log.
func (s *tlsEnv) reload(line string) {
	s.p.t.Helper()
	s.p.signal(syscall.SIGHUP)
	s.p.wait(line)
}

// client is the program's connection as nats-server sees it; 0 and "" if there is none.
func (s *tlsEnv) client(t *testing.T) (id uint64, certificate string) {
	t.Helper()
	all, err := s.nats.Connz(&server.ConnzOptions{Username: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all.Conns {
		if c.Name == "nats-account-server" && len(c.TLSPeerCerts) > 0 {
			return c.Cid, c.TLSPeerCerts[0].Subject
		}
	}
	return 0, ""
}

// shows waits until the program has a connection other than the one of before, made with the
// certificate.
func (s *tlsEnv) shows(t *testing.T, name string, before uint64) (id uint64) {
	t.Helper()
	natstest.Eventually(t, "a connection with the certificate "+name, func() bool {
		var certificate string
		id, certificate = s.client(t)
		return id != before && certificate == "CN="+name
	})
	return id
}

// disconnect ends the program's connection.
func (s *tlsEnv) disconnect(t *testing.T, id uint64) {
	t.Helper()
	if err := s.nats.DisconnectClientByID(id); err != nil {
		t.Fatal(err)
	}
}

func TestARenewedCertificateForNATSIsUsed(t *testing.T) {
	t.Parallel()
	s := newTLSEnv(t)
	web := keepAlive(t, s.url)
	first := s.shows(t, "one", 0)

	s.reload("configuration reloaded")
	if id, _ := s.client(t); id != first {
		t.Errorf("a reload that changes nothing dials anew: connection %d became %d", first, id)
	}

	s.renew(t, "two")
	s.reload("configuration reloaded")
	second := s.shows(t, "two", first)

	jwttest.File(t, s.dir, "a.crt", []byte("half a certifi"))
	s.reload(`ERR.*the new configuration is refused, the old one goes on: error loading nats.tls.cert ` +
		s.dir + `/a.crt`)
	if id, _ := s.client(t); id != second {
		t.Errorf("a refused reload dials anew: connection %d became %d", second, id)
	}
	s.disconnect(t, second)
	third := s.shows(t, "two", second)
	s.p.wait("the certificates that were read before go on")

	s.renew(t, "three") // and no signal
	s.disconnect(t, third)
	fourth := s.shows(t, "three", third)

	creds, _ := s.op.System.User(t)
	jwttest.File(t, s.dir, "sys.creds", []byte("half a creden"))
	s.reload("the new configuration is refused, the old one goes on: error loading credentials")
	jwttest.File(t, s.dir, "sys.creds", creds)
	s.reload("configuration reloaded")
	s.shows(t, "three", fourth)

	web.get("/healthz")
	s.p.term()
}

// The pending changes outlive the connection.
func TestWhatIsPushedWhileACertificateIsRenewedIsAnnounced(t *testing.T) {
	t.Parallel()
	s := newTLSEnv(t)
	creds, _ := s.op.System.User(t)
	cert, key := s.ca.Issue(t).Write(t, s.dir, "listener")
	nc := natstest.Connect(t, s.nats.ClientURL(), creds,
		nats.RootCAs(filepath.Join(s.dir, "ca.crt")), nats.ClientCert(cert, key))
	heard := make(chan string, 100)
	if _, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", func(m *nats.Msg) {
		heard <- string(m.Data)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for i := range 5 {
		s.renew(t, fmt.Sprint(i))
		s.p.signal(syscall.SIGHUP)
		a := jwttest.NewAccount(t)
		token := s.op.Account(t, a)
		mustPush(t, s.url, a.ID, token)
		want[string(token)] = true
	}
	for deadline := time.After(time.Minute); len(want) > 0; {
		select {
		case token := <-heard:
			delete(want, token)
		case <-deadline:
			t.Fatalf("%d of 5 pushes are not announced:\n%s", len(want), s.p.log)
		}
	}
	s.p.term()
}

// webClient is one HTTP connection that is kept.
type webClient struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

// keepAlive connects and makes the first request.
func keepAlive(t testing.TB, url string) *webClient {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := &webClient{t, c, bufio.NewReader(c)}
	w.get("/healthz")
	return w
}

func (w *webClient) get(path string) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		w.t.Fatal(err)
	}
	r, err := http.ReadResponse(w.r, nil)
	if err != nil || r.StatusCode != http.StatusOK {
		w.t.Fatalf("the connection of before does not answer: %v %v", r, err)
	}
	_ = r.Body.Close()
}
