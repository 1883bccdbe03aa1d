package main_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// accessEnv is a test environment with an authority and the certificate that it gave the program.
type accessEnv struct {
	*testEnv
	authority *certtest.Authority
}

func newAccessEnv(t testing.TB) *accessEnv {
	t.Helper()
	f := &accessEnv{testEnv: newEnv(t, "", ""), authority: certtest.New(t)}
	f.authority.Write(t, f.dir, "ca")
	f.authority.Issue(t).Write(t, f.dir, "server")
	return f
}

const (
	withTLS = "tls { cert: server.crt, key: server.key }\n"
	verify  = "tls { cert_file: server.crt, key_file: server.key, ca_file: ca.crt, verify: true }\n"
	require = "tls { cert: server.crt, key: server.key, root: ca.crt, verify: require }\n"
)

// users is an authorization section: ops and the certificate deploy write, nats reads. The
// passwords are write and read.
func users(t testing.TB, http string) string {
	t.Helper()
	deploy := ""
	if strings.Contains(http, "verify") {
		deploy = "{ certificate: deploy }"
	}
	return fmt.Sprintf("authorization {\n write: [ { user: ops, password: %s }\n %s ]\n"+
		" read: { user: nats, password: %q }\n}\n",
		hash(t, "write"), deploy, hash(t, "read"))
}

// configure writes the configuration with an HTTP section.
func (f *accessEnv) configure(t testing.TB, extra string, http ...string) {
	t.Helper()
	f.conf = conf(t, f.dir,
		"operator: op.jwt, system_account: sys.jwt, store { dir: store, shard: true }\n"+
			"%s\nhttp { host: 127.0.0.1, port: 0\n%s}",
		extra, strings.Join(http, ""))
}

// client trusts the environment's authority, and shows certificates.
func (f *accessEnv) client(t testing.TB, pairs ...certtest.Pair) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(f.authority.PEM)
	for _, p := range pairs {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		// whatever authorities the server names, as some clients do
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil
		}
	}
	transport := &http.Transport{TLSClientConfig: c}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// as puts user and password into a URL, as nsc and nats-server are given them.
func as(login, url string) string {
	return strings.Replace(url, "://", "://"+login+"@", 1)
}

// try gives the status, 0 if there was no answer.
func try(c *http.Client, method, url string, body []byte) int {
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// TestANatsServerLogsInToItsResolver lets a real nats-server start with a password in its
// resolver's URL, over HTTP and over TLS with a password or a certificate, and load an account that
// was pushed.
func TestANatsServerLogsInToItsResolver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, http, login, resolver string }{
		{"http", "", "nats:read@", ""},
		{"a writer", "", "ops:write@", ""},
		{"https", withTLS, "nats:read@", "resolver_tls { ca_file: $DIR/ca.crt }"},
		{"a certificate", verify, "",
			"resolver_tls { ca_file: $DIR/ca.crt, cert_file: $DIR/n1.crt, key_file: $DIR/n1.key }"},
		{"a certificate is required", require, "",
			"resolver_tls { ca_file: $DIR/ca.crt, cert_file: $DIR/n1.crt, key_file: $DIR/n1.key }"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newAccessEnv(t)
			f.authority.Issue(t, certtest.OnlyNamed("n1")).Write(t, f.dir, "n1")
			f.configure(t, "logging { trace: true, debug: true }", c.http, users(t, c.http))
			p, url := f.start(t)
			a := jwttest.NewAccount(t)
			pusher := f.client(t)
			if c.http == require {
				pusher = f.client(t, f.authority.Issue(t, certtest.OnlyNamed("n1")))
			}
			account := "/jwt/v1/accounts/" + a.ID
			token := f.op.Account(t, a)
			if got := try(pusher, "POST", as("ops:write", url+account), token); got != http.StatusOK {
				t.Fatalf("push: %d", got)
			}
			n := natstest.Start(t, natstest.URLConf(t, f.op,
				as(strings.TrimSuffix(c.login, "@"), url)+"/jwt/v1/accounts/",
				natstest.AnyPort+strings.ReplaceAll(c.resolver, "$DIR", f.dir)))
			creds, _ := a.User(t)
			natstest.Connect(t, n.ClientURL(), creds)
			natstest.Stop(n)
			if log := p.log.String(); strings.Contains(log, "Basic") ||
				strings.Contains(log, ":read") ||
				len(p.warnings()) > 0 {
				t.Errorf("log:\n%s", log)
			}
			p.term()
		})
	}
}

// TestLoginsOverTLS shows what each kind of login may do.
func TestLoginsOverTLS(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	foreign := certtest.New(t)
	a := jwttest.NewAccount(t)
	token := f.op.Account(t, a)
	named := certtest.OnlyNamed("deploy")
	reader, deploy := f.authority.Issue(t, certtest.OnlyNamed("n1")), f.authority.Issue(t, named)
	expired, foreignPair := f.authority.Issue(t, named, certtest.Expired), foreign.Issue(t, named)
	type row struct {
		name      string
		client    *http.Client
		login     string // user:password
		get, post int    // 0: no answer, the handshake fails
	}
	for _, c := range []struct {
		name, http string
		rows       []row
	}{
		{"passwords", withTLS + users(t, ""), []row{
			{"no credentials", f.client(t), "", 401, 401},
			{"a reader", f.client(t), "nats:read", 200, 403},
			{"a writer", f.client(t), "ops:write", 200, 200},
			{"a wrong password", f.client(t), "ops:x", 401, 401},
			{"a certificate that is not asked for", f.client(t, deploy), "", 401, 401},
		}},
		{"a certificate or a password", verify + users(t, verify), []row{
			{"no credentials", f.client(t), "", 401, 401},
			{"a reader", f.client(t), "nats:read", 200, 403},
			{"a writer", f.client(t), "ops:write", 200, 200},
			{"a certificate", f.client(t, reader), "", 200, 403},
			{"a certificate that writes", f.client(t, deploy), "", 200, 200},
			{"a certificate and a writer's password", f.client(t, reader), "ops:write", 200, 200},
			{"an expired certificate", f.client(t, expired), "", 0, 0},
			{"a foreign certificate", f.client(t, foreignPair), "ops:write", 0, 0},
		}},
		{"a certificate or a password, and readers are not named", verify +
			"authorization { write: { user: ops, password: " + hash(t, "write") + " } }", []row{
			{"no credentials", f.client(t), "", 401, 401},
			{"a writer", f.client(t), "ops:write", 200, 200},
			{"a certificate", f.client(t, deploy), "", 200, 403},
		}},
		{"a certificate, and no one is named", verify, []row{
			{"no credentials", f.client(t), "", 401, 401},
			{"a certificate", f.client(t, reader), "", 200, 200},
			{"a foreign certificate", f.client(t, foreignPair), "", 0, 0},
		}},
		{"a certificate in any case", require + users(t, verify), []row{
			{"no credentials", f.client(t), "", 0, 0},
			{"a writer's password", f.client(t), "ops:write", 0, 0},
			{"a certificate", f.client(t, reader), "", 200, 403},
			{"a certificate that writes", f.client(t, deploy), "", 200, 200},
			{"a certificate and a writer's password", f.client(t, reader), "ops:write", 200, 200},
			{"an expired certificate", f.client(t, expired), "", 0, 0},
		}},
		{"reading is open", withTLS +
			"authorization { write: { user: ops, password: " + hash(t, "write") +
			" } }", []row{
			{"no credentials", f.client(t), "", 200, 401},
			{"a writer", f.client(t), "ops:write", 200, 200},
			{"an unknown user", f.client(t), "nats:read", 200, 401},
		}},
	} {
		f.configure(t, "", c.http)
		p, url := f.start(t)
		for _, r := range c.rows {
			account := url
			if r.login != "" {
				account = as(r.login, url)
			}
			if got := try(r.client, "POST", account+"/jwt/v1/accounts/"+a.ID, token); got != r.post {
				t.Errorf("%s: %s: POST is %d, want %d", c.name, r.name, got, r.post)
			}
			if got := try(r.client, "GET", account+"/jwt/v1/accounts/"+f.op.System.ID, nil); got != r.get {
				t.Errorf("%s: %s: GET is %d, want %d", c.name, r.name, got, r.get)
			}
		}
		health := 200
		if strings.Contains(c.http, require) {
			health = 0
		}
		if got := try(f.client(t), "GET", url+"/healthz", nil); got != health {
			t.Errorf("%s: healthz is %d", c.name, got)
		}
		if len(p.lines("ERR")) > 0 {
			t.Errorf("%s:\n%s", c.name, p.log)
		}
		p.term()
	}
}

func TestTLSOfHTTP(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	f.configure(t, "logging { debug: true }", withTLS)
	p, url := f.start(t)
	address := strings.TrimPrefix(url, "https://")
	if !strings.HasPrefix(url, "https://") ||
		!strings.Contains(p.log.String(),
			"https listening on port "+address[strings.LastIndexByte(address, ':')+1:]) {
		t.Errorf("it says:\n%s", p.log)
	}
	client := f.client(t).Transport.(*http.Transport).TLSClientConfig
	for _, c := range []struct {
		name string
		edit func(*tls.Config)
		want string
	}{
		{"TLS 1.1", func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		},
			""},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "http/1.1"},
		{"TLS 1.3", func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, "http/1.1"},
	} {
		config := client.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
		c.edit(config)
		conn, err := tls.Dial("tcp", address, config)
		if (err == nil) != (c.want != "") {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			if got := conn.ConnectionState().NegotiatedProtocol; got != c.want {
				t.Errorf("%s: protocol %q", c.name, got)
			}
			conn.Close()
		}
	}
	got := raw(t, "http://"+address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if got != "HTTP/1.0 400 Bad Request" {
		t.Errorf("HTTP where TLS is: %s", got)
	}
	p.wait("DBG.*TLS handshake error")
	p.term()
	if len(p.lines("ERR")) > 0 {
		t.Errorf("log:\n%s", p.log)
	}
}

// rsaPair is a certificate for 127.0.0.1 of an RSA key that vouches for itself.
func rsaPair(t testing.TB) certtest.Pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private := x509.MarshalPKCS1PrivateKey(key)
	return certtest.Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: private}),
	}
}

// TestCredentialsAreReadAgain reloads certificates, authorities and passwords under a connection
// that stays.
func TestCredentialsAreReadAgain(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	f.configure(t, "logging { debug: true }", "readtimeout: 1m30s\n", verify, users(t, verify))
	p, url := f.start(t)
	account := url + "/jwt/v1/accounts/" + f.op.System.ID
	reload := func(line string) {
		t.Helper()
		p.signal(syscall.SIGHUP)
		p.wait(line)
	}
	old := f.client(t, f.authority.Issue(t, certtest.OnlyNamed("n1")))
	var connections atomic.Int32
	dial := (&net.Dialer{}).DialContext
	counted := func(ctx context.Context, network, address string) (net.Conn, error) {
		connections.Add(1)
		return dial(ctx, network, address)
	}
	old.Transport.(*http.Transport).DialContext = counted
	want := func(what string, c *http.Client, url string, status int) {
		t.Helper()
		if got := try(c, "GET", url, nil); got != status {
			t.Errorf("%s: %d, want %d", what, got, status)
		}
	}
	want("a certificate", old, account, 200)

	// A push that has only begun survives all of it.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"),
		f.client(t).Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := jwttest.NewAccount(t)
	token := f.op.Account(t, a)
	r, _ := http.NewRequest("POST", url+"/jwt/v1/accounts/"+a.ID, nil)
	r.SetBasicAuth("ops", "write")
	fmt.Fprintf(conn,
		"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.URL.Path, r.Header.Get("Authorization"), len(token), token[:10])

	// Another certificate, of an authority that the present clients don't know.
	rsa := rsaPair(t)
	rsa.Write(t, f.dir, "server")
	reload("configuration reloaded")
	want("a new connection to the new certificate", f.client(t), account, 0)
	trusting := f.client(t)
	trusting.Transport.(*http.Transport).TLSClientConfig.RootCAs.AppendCertsFromPEM(rsa.Cert)
	want("a client that trusts it", trusting, as("nats:read", account), 200)
	want("an open connection", old, account, 200)

	// What can't be used is refused in one line, and the old goes on.
	jwttest.File(t, f.dir, "server.key", f.authority.Issue(t).Key)
	reload("ERR.*the new configuration is refused, the old one goes on: " +
		"error loading X509 certificate/key pair: " +
		"tls: private key type does not match public key type.*server.crt.*server.key")
	want("with the old certificate", trusting, as("nats:read", account), 200)
	rsa.Write(t, f.dir, "server")

	// Other passwords count at once.
	f.configure(t, "", "readtimeout: 1m30s\n", verify,
		strings.Replace(users(t, verify), "user: nats", "user: other", 1))
	reload("configuration reloaded")
	want("a user that was removed", trusting, as("nats:read", account), 401)
	want("a user that was added", trusting, as("other:read", account), 200)
	want("the certificate", old, account, 200)

	// So do other authorities, on open connections too.
	certtest.New(t).Write(t, f.dir, "ca")
	reload("configuration reloaded")
	want("a certificate of an authority that was taken away", old, account, 401)
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections were made, the first one should have lasted", n)
	}

	if _, err := conn.Write(token[10:]); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil ||
		strings.TrimSpace(line) != "HTTP/1.1 200 OK" {
		t.Errorf("the push that had begun: %q, %v", line, err)
	}
	p.term()
	if n := len(p.lines("ERR")); n != 1 {
		t.Errorf("%d ERR lines:\n%s", n, p.log)
	}
}

// TestTLSGoesAndComes turns TLS off and on under the same address.
func TestTLSGoesAndComes(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	f.configure(t, "")
	p, url := f.start(t)
	for _, c := range []struct{ http, scheme string }{{withTLS, "https"}, {"", "http"},
		{withTLS, "https"}} {
		f.configure(t, "", c.http)
		p.signal(syscall.SIGHUP)
		p.wait(c.scheme + " listening on port")
		p.wait("configuration reloaded")
		natstest.Eventually(t, c.scheme+" answers", func() bool {
			return try(f.client(t), "GET",
				c.scheme+strings.TrimPrefix(url, "http")+"/healthz", nil) == 200
		})
	}
	p.term()
}

// TestUnusableAccessFilesStopTheStart names the file and the key, with -t too.
func TestUnusableAccessFilesStopTheStart(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	f.authority.Issue(t).Write(t, f.dir, "other")
	jwttest.File(t, f.dir, "empty", nil)
	for _, c := range []struct{ http, want string }{
		{"tls { cert: nope, key: server.key }",
			"error loading X509 certificate/key pair: open $DIR/nope: no such file or directory " +
				".http.tls.cert is $DIR/nope, http.tls.key is $DIR/server.key."},
		{"tls { cert: server.crt, key: nope }",
			"error loading X509 certificate/key pair: open $DIR/nope: no such file or directory"},
		{"tls { cert: server.crt, key: other.key }",
			"error loading X509 certificate/key pair: tls: private key does not match public key"},
		{"tls { cert: empty, key: server.key }",
			"error loading X509 certificate/key pair: tls: failed to find any PEM data"},
		{"tls { cert: server.crt }", "server.conf:4:13: http.tls.cert needs the key"},
		{"tls { cert: server.crt, key: server.key, root: nope, verify: true }",
			"error loading http.tls.root: open $DIR/nope: no such file"},
		{"tls { cert: server.crt, key: server.key, root: empty, verify: require }",
			"error loading http.tls.root: there is no PEM certificate in $DIR/empty"},
		{"authorization { write: { user: ops, password: hush } }",
			"server.conf:4:47: the password must be a bcrypt hash"},
	} {
		f.configure(t, "", c.http+"\n")
		want := strings.ReplaceAll(c.want, "$DIR", f.dir)
		for _, flags := range [][]string{{"-c", f.conf}, {"-t", "-c", f.conf}} {
			p := start(t, f.dir, nil, flags...)
			if code := p.exited(); code != 1 {
				t.Errorf("%s: exit code %d", c.http, code)
			}
			p.wait(want)
			if strings.Contains(p.log.String(), "hush") || len(flags) == 2 &&
				len(p.lines("ERR")) != 1 {
				t.Errorf("%s: it says\n%s", c.http, p.log)
			}
		}
		if _, err := os.Stat(filepath.Join(f.dir, "store")); err == nil {
			t.Errorf("%s: a store was made", c.http)
		}
	}
}

// TestAnOperatorWithAPassword is an ERR line without it; only readers get that JWT.
func TestAnOperatorWithAPassword(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	f.op.Claims.AccountServerURL = "https://ops:hush@example.com/jwt/v1"
	jwttest.File(t, f.dir, "op.jwt", []byte(f.op.Token(t)))
	for _, c := range []struct {
		http                     string
		none, wrong              int
		reader, writer, accounts int
	}{
		{"", 403, 403, 403, 403, 200},
		{"authorization { write: { user: ops, password: " + hash(t, "write") +
			" } }\n", 401, 401, 401, 200, 200},
		{users(t, ""), 401, 401, 200, 200, 401},
	} {
		f.configure(t, "", c.http)
		p, url := f.start(t)
		if log := p.log.String(); !strings.Contains(log,
			"there is a password in the operator JWT in "+f.dir+"/op.jwt, "+
				"in account_server_url: only those who log in may read it") ||
			strings.Contains(log, "hush") || len(p.lines("ERR")) != 1 {
			t.Errorf("it says:\n%s", log)
		}
		for login, want := range map[string]int{"": c.none, "ops:x@": c.wrong,
			"nats:read@": c.reader,
			"ops:write@": c.writer} {
			operator := strings.Replace(url, "://", "://"+login, 1) + "/jwt/v1/operator?text=true"
			if got := try(http.DefaultClient, "GET", operator, nil); got != want {
				t.Errorf("%s as %s: %d, want %d", c.http, login, got, want)
			}
		}
		account := url + "/jwt/v1/accounts/" + f.op.System.ID
		if got := try(http.DefaultClient, "GET", account, nil); got != c.accounts {
			t.Errorf("an account: %d", got)
		}
		p.term()
	}
}

// TestWrongPasswordsAreSlowedDown also counts what they leave in the log.
func TestWrongPasswordsAreSlowedDown(t *testing.T) {
	t.Parallel()
	f := newAccessEnv(t)
	f.configure(t, "logging { trace: true, debug: true }", users(t, ""))
	p, url := f.start(t)
	account := url + "/jwt/v1/accounts/" + f.op.System.ID
	if got := try(http.DefaultClient, "GET", as("nats:read", account), nil); got != 200 {
		t.Fatal(got)
	}
	failures := 0
	for failures < 20 && try(http.DefaultClient, "GET", as("ops:hush", account), nil) == 401 {
		failures++
	}
	if failures < 5 || failures == 20 {
		t.Errorf("slowed down after %d failures", failures)
	}
	if got := try(http.DefaultClient, "GET", as("nats:read", account), nil); got != 200 {
		t.Errorf("a password that was right before: %d", got)
	}
	p.term()
	log := p.log.String()
	if len(p.lines("WRN")) != 1 ||
		!strings.Contains(log, `wrong user or password from 127.0.0.1, user "ops"`) ||
		strings.Contains(log, "hush") || strings.Contains(log, "Basic") {
		t.Errorf("log:\n%s", log)
	}
}
