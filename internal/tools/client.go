package tools

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// Paths of an account server, as httpapi has them.
const (
	pathAccounts    = "/jwt/v1/accounts/" // a key follows
	pathActivations = "/jwt/v1/activations"
	pathPack        = "/jwt/v1/pack"
	pathAccountz    = "/accountz"
)

const (
	// answerTimeout is how long a server may take for the head of an answer, and say nothing in it.
	answerTimeout = 30 * time.Second
	// maxAnswerBytes bounds an answer, and a line of a pack.
	maxAnswerBytes = 4 << 20
	// maxTries is how often a request is sent that the server is too busy for, or that is lost.
	maxTries = 5
	// firstRetry is the wait after the first try. It doubles.
	firstRetry = 500 * time.Millisecond
	// maxRetryAfter is the longest wait that a server may ask for.
	maxRetryAfter = time.Minute
)

// Access is what a server wants to see of a client. User and password are in its URL. The zero
// Access is for a server without TLS, or with a certificate that the system trusts.
type Access struct {
	// CA is the path of a PEM file with the authorities that may have signed the server's
	// certificate. "" means those of the system.
	CA string
	// Cert and Key are paths of PEM files with a certificate of the client and its key. Both or
	// none are given; "" means that the client shows none.
	Cert, Key string
}

// Client is an account server. As a Source it has all accounts of the server, the expired too if
// the server lists them. Requests may be sent from several goroutines, and Each is called once. All
// requests go to the same host; a redirect is followed, as http.Client does.
type Client struct {
	// url has neither user nor path, so that it may be printed.
	url *url.URL
	// user is sent as basic authentication with each request; nil if the URL has none.
	user *url.Userinfo
	http *http.Client
	// tries is how often a request is sent at most; 1 is no retry.
	tries int
}

// NewClient returns the Client for a URL. It connects to nothing yet. The error is that of the URL,
// which it does not repeat, or of a file of access. The path may be empty or /jwt/v1, as nsc writes
// it. The proxy of the environment is used.
func NewClient(where string, access Access) (*Client, error) {
	u, err := url.Parse(where)
	if err != nil || !IsURL(where) || u.Host == "" || !isBase(u) {
		// The error may repeat a password, and so may the URL.
		return nil, errors.New(
			"the URL of an account server is like https://user:password@host:9090")
	}
	config, err := access.config()
	if err != nil {
		return nil, err
	}
	c := &Client{url: &url.URL{Scheme: u.Scheme, Host: u.Host}, user: u.User, tries: maxTries}
	c.http = &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, MaxIdleConnsPerHost: maxPosts,
		ResponseHeaderTimeout: answerTimeout,
	}}
	return c, nil
}

// isBase reports whether nothing but what nsc has in the URL of an account server follows the host.
func isBase(u *url.URL) bool {
	path := strings.Trim(u.Path, "/")
	return (path == "" || path == "jwt/v1") && u.RawQuery == ""
}

// config returns what TLS needs, read from the files. The files are read once: a certificate that
// is renewed during a long import is not noticed.
func (a Access) config() (*tls.Config, error) {
	config := &tls.Config{}
	if a.CA != "" {
		text, err := os.ReadFile(a.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate", a.CA)
		}
	}
	if a.Cert != "" || a.Key != "" {
		pair, err := tls.LoadX509KeyPair(a.Cert, a.Key)
		if err != nil {
			return nil, fmt.Errorf("the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// String returns the URL without the password.
func (c *Client) String() string { return c.url.String() }

// answer is what a server says to a request.
type answer struct {
	// status is the HTTP status, 200 and others.
	status int
	// text is the body, up to maxAnswerBytes of it.
	text string
	// after is how long the server wants to be left alone; 0 if it does not say.
	after time.Duration
}

// error returns why a request was not carried out. The text of a server may be anything.
func (a answer) error() error {
	return fmt.Errorf("%d %s: %s", a.status, http.StatusText(a.status),
		logging.Quote(oneLine(a.text), maxWordsBytes))
}

// isFatal reports whether every further push will be answered so, whatever the JWT is. 401 and 403
// are about the user, and 405 is a server that takes no pushes, such as a replica.
func (a answer) isFatal() bool {
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// isBusy reports whether a request may be carried out a moment later. 429 is the limit of requests,
// and 503 a server that starts, stops or can't reach its bucket.
func (a answer) isBusy() bool {
	return a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable
}

// readAnswer reads the answer of a response, and closes its body. Retry-After is read as seconds; a
// date there counts as none.
func readAnswer(r *http.Response) (answer, error) {
	defer r.Body.Close()
	seconds, _ := strconv.Atoi(r.Header.Get("Retry-After"))
	text, err := io.ReadAll(io.LimitReader(r.Body, maxAnswerBytes))
	return answer{r.StatusCode, string(text), time.Duration(seconds) * time.Second}, err
}

// repeat calls try until it is not to be repeated, up to c.tries times in all. The waits are 0.5, 1,
// 2 and 4 seconds, or what the last answer says, up to maxRetryAfter.
func (c *Client) repeat(ctx context.Context, try func() (again bool, last answer)) {
	wait := firstRetry
	for n := 1; ; n++ {
		again, last := try()
		if !again || n == c.tries || !pause.For(ctx, max(wait, min(last.after, maxRetryAfter))) {
			return
		}
		wait *= 2
	}
}

// do sends a request and reads the answer. If the request is lost or the server is busy, it is
// repeated. A push may be sent twice: the second one is answered as one that changes nothing. The
// error is that no answer came. The last answer of a busy server is an answer. body is sent anew
// with each try. header is not changed; nil is none.
func (c *Client) do(
	ctx context.Context, method, path string, body []byte, header http.Header,
) (a answer, err error) {
	c.repeat(ctx, func() (again bool, last answer) {
		var response *http.Response
		a = answer{}
		if response, err = c.send(ctx, method, path, body, header); err == nil {
			a, err = readAnswer(response)
		}
		return err != nil || a.isBusy(), a
	})
	return a, cmp.Or(context.Cause(ctx), err)
}

// send sends a request and returns the answer with its body still to be read. path begins with a
// slash and may have a query. The caller closes the body.
func (c *Client) send(
	ctx context.Context, method, path string, body []byte, header http.Header,
) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url.String()+path,
		bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	if c.user != nil {
		password, _ := c.user.Password()
		request.SetBasicAuth(c.user.Username(), password)
	}
	return c.http.Do(request)
}

// Len implements Source. A pack does not say how many lines it has.
func (c *Client) Len() int { return 0 }

// Each implements Source. The pack has most accounts in one request. What it leaves out, which are
// the expired accounts and what is above its limit, is asked for one by one if the server lists its
// accounts. If it does not, an error says whether the pack was cut off. The Place of an Entry has
// the URL without the password.
func (c *Client) Each(ctx context.Context, take func(Entry) error) error {
	seen := map[string]bool{}
	received, err := c.pack(ctx, func(e Entry) error {
		seen[e.Name] = true
		return take(e)
	})
	if err != nil {
		return err
	}
	listed, err := c.list(ctx, func(key string) error {
		if seen[key] {
			return nil
		}
		return c.take(ctx, key, take)
	})
	if err != nil || listed {
		return err
	}
	return c.checkPack(ctx, received)
}

// pack takes the lines of the pack, and counts them. It may be larger than memory, so each line is
// taken as it comes. The server may take any time for all of it, but not pause for answerTimeout. A
// line is "A…|eyJ…". A line above maxAnswerBytes is an error.
func (c *Client) pack(ctx context.Context, take func(Entry) error) (received int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, err := c.openPack(ctx)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	// The timer runs only while a line is waited for.
	silent := time.AfterFunc(answerTimeout, func() {
		cancel(fmt.Errorf("%s says nothing for %s", c, answerTimeout))
	})
	defer silent.Stop()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswerBytes)
	for lines.Scan() {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			silent.Stop() // take may need its time
			received++
			if err := take(packEntry(fmt.Sprintf("%s, line %d", c, received), line)); err != nil {
				return received, err
			}
		}
		silent.Reset(answerTimeout)
	}
	return received, cmp.Or(context.Cause(ctx), lines.Err())
}

// openPack returns the pack. A server sends few of them at a time, so the request is repeated if the
// server is busy. A lost one is not.
func (c *Client) openPack(ctx context.Context) (pack io.ReadCloser, err error) {
	c.repeat(ctx, func() (again bool, last answer) {
		var response *http.Response
		if response, err = c.send(ctx, http.MethodGet, pathPack, nil, nil); err != nil {
			return false, last
		}
		if response.StatusCode == http.StatusOK {
			pack = response.Body
			return false, last
		}
		last, _ = readAnswer(response) // what came of its text is told
		err = fmt.Errorf("the pack of %s: %w", c, last.error())
		return last.isBusy(), last
	})
	return pack, err
}

// accountz is what is read of a page of the list of accounts. The page is {"accounts": [{"account":
// "A…"}], "after": "A…"}. after is "" on the last one.
type accountz struct {
	Accounts []struct {
		Account string `json:"account"`
	} `json:"accounts"`
	After string `json:"after"`
}

// list calls take with the keys of all accounts that are stored, 1024 with each request: also of
// those that have expired, and of those for which a pack has no room. It returns false if the
// server does not list its accounts here, as one does that has a monitoring port of its own. The
// order is that of the keys, and keys that come in the meantime may be missing. A page that is no
// JSON is from another program on that port, and counts as none.
func (c *Client) list(ctx context.Context, take func(key string) error) (bool, error) {
	for after := ""; ; {
		path := pathAccountz + "?limit=1024&after=" + url.QueryEscape(after)
		a, err := c.do(ctx, http.MethodGet, path, nil, nil)
		if err != nil {
			return false, err
		}
		var list accountz
		if a.status != http.StatusOK || json.Unmarshal([]byte(a.text), &list) != nil {
			return false, nil
		}
		for _, account := range list.Accounts {
			if err := take(account.Account); err != nil {
				return false, err
			}
		}
		if after = list.After; after == "" {
			return true, nil
		}
	}
}

// has reports whether the server says that it has stored this very JWT. It is a GET with
// If-None-Match, of which 304 has no body. Any other answer, or none, is no.
func (c *Client) has(ctx context.Context, key, etag string) bool {
	a, err := c.do(ctx, http.MethodGet, pathAccounts+key, nil, http.Header{"If-None-Match": {etag}})
	return err == nil && a.status == http.StatusNotModified
}

// unmetImports returns the imports of an account that do nothing, with the reasons, in the words of
// the warnings of a push. The words have the form of importWarning, so that both can be compared by
// people. The answer's field imports has account, type, subject and fault, of which fault is "" for
// an import that works.
func (c *Client) unmetImports(ctx context.Context, key string) (unmet []string, err error) {
	a, err := c.do(ctx, http.MethodGet, pathAccounts+key+"/impact?json", nil, nil)
	if err == nil && a.status != http.StatusOK {
		err = a.error()
	}
	if err != nil {
		return nil, err
	}
	var impact struct {
		Imports []struct{ Account, Type, Subject, Fault string }
	}
	if err := json.Unmarshal([]byte(a.text), &impact); err != nil {
		return nil, err
	}
	for _, i := range impact.Imports {
		if i.Fault != "" {
			unmet = append(unmet, fmt.Sprintf(importWarning+"%s %.128q from %.12s: %s",
				i.Type, i.Subject, i.Account, i.Fault))
		}
	}
	return unmet, nil
}

// take takes one account of the list. One that is gone by now is left out. ?text=true gives the
// token also to one that asks for JSON. An error of the server about one account is an Entry with
// that error, and does not end the Source.
func (c *Client) take(ctx context.Context, key string, take func(Entry) error) error {
	a, err := c.do(ctx, http.MethodGet, pathAccounts+url.PathEscape(key)+"?text=true", nil, nil)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusNotFound:
		return nil
	case a.status != http.StatusOK:
		return take(Entry{Place: c.String() + pathAccounts + key, Name: key, Err: a.error()})
	}
	return take(newEntry(c.String()+pathAccounts+key, key, []byte(a.text)))
}

// checkPack returns an error if the pack may have been cut off. A server refuses to give more than
// it may, so one that refuses one more has given all that it may. The server answers 400 to a
// number above its maxreplicationpack.
func (c *Client) checkPack(ctx context.Context, received int) error {
	a, err := c.do(ctx, http.MethodHead, fmt.Sprintf("%s?max=%d", pathPack, received+1), nil, nil)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusBadRequest:
		return fmt.Errorf("%s gives %d accounts in a pack, and may have more: raise "+
			"maxreplicationpack in its configuration, or give a URL at which it has /accountz",
			c, received)
	}
	return nil
}
