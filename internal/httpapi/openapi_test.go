package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/replica"
)

func TestTheOpenAPIDocumentIsValid(t *testing.T) {
	c := newContract(openAPI)
	if err := c.doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	for path, item := range c.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if ids[op.OperationID] {
				t.Errorf("%s %s: another operation has the operationId %q", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
		if item.Get == nil {
			continue
		}
		// HEAD is GET without the body.
		get, head := *item.Get, *item.Head
		head.OperationID, head.Summary, head.Description = get.OperationID, get.Summary, get.Description
		wanted, _ := json.Marshal(get)
		if had, _ := json.Marshal(head); !bytes.Equal(had, wanted) {
			t.Errorf("HEAD of %s differs from GET", path)
		}
	}
}

func TestEveryRouteIsInTheOpenAPIDocument(t *testing.T) {
	var paths []string
	for path := range newContract(openAPI).doc.Paths.Map() {
		beginning, _, _ := strings.Cut(path, "{")
		paths = append(paths, beginning)
	}
	o := httpapi.Options{Operator: []byte("x"), Monitor: &monitor.Monitor{}}
	for _, path := range httpapi.New(o).Paths() {
		if !slices.Contains(paths, path) {
			t.Errorf("%s is not in the document", path)
		}
	}
}

// What a handler reads of a request can't be seen from outside, so the sources are looked at.
func TestEveryParameterThatIsReadIsInTheOpenAPIDocument(t *testing.T) {
	// A security scheme, and what chooses among the media types of an answer.
	known := []string{"Authorization", "Accept"}
	for _, item := range newContract(openAPI).doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, p := range op.Parameters {
				known = append(known, p.Value.Name)
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		// The pages for people are no part of the API.
		if strings.HasSuffix(file, "_test.go") || file == "pages.go" || file == "manual.go" {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range readOfRequest.FindAllSubmatch(source, -1) {
			if count++; !slices.Contains(known, string(found[1])) {
				t.Errorf("%s reads %s, which is not in the document", file, found[1])
			}
		}
	}
	if count < 15 {
		t.Errorf("only %d reads found", count)
	}
}

// readOfRequest matches reads of a query parameter or header.
var readOfRequest = regexp.MustCompile(
	`(?:\.set\(|\.value\(|\.number\(|Query\(\)\.Get\(|r\.Header\.Get\(|r\.Header\[)"([\w-]+)"`)

func TestTheOpenAPIDocumentIsServedWithAnETag(t *testing.T) {
	address := serve(t, newEnvironment(t).api)
	const request = "GET /jwt/v1/openapi.json"
	head, body, _ := strings.Cut(ask(t, address, request), "\n\n")
	if body != string(openAPI) || !strings.Contains(head, "\nContent-Type: application/json\n") {
		t.Error(head)
	}
	_, tag, _ := strings.Cut(head, "Etag: ")
	tag, _, _ = strings.Cut(tag, "\n")
	if got := ask(t, address, request+"\nIf-None-Match: "+tag); got != unmodified {
		t.Errorf("%s gave\n%s", tag, got)
	}
}

// A document that lacks something of an answer is noticed, and so is one that has more than was seen.
func TestTheOpenAPIDocumentIsHeldAgainstTheHandlers(t *testing.T) {
	const badMax400 = `"400": {"$ref": "#/components/responses/BadMax"}`
	const badMax418 = `"418": {"$ref": "#/components/responses/BadMax"}`
	for _, c := range []struct{ had, has, want string }{
		{badMax400, badMax418, "GET /jwt/v1/pack: 400 is not in the document"},
		{badMax400, badMax418, "GET /jwt/v1/pack: 418 is in the document, but no test has seen it"},
		{`"text/plain": {`, `"text/html": {`, "has the media type text/plain, which is not in the document"},
		{`"Vary": {"$ref"`, `"Varies": {"$ref"`, "has the header Vary, which is not in the document"},
		{`"name": "max"`, `"name": "most"`, "parameter most is in the document, but no test has seen it"},
		{`"/jwt/v1/pack": {`, `"/jwt/v1/packs": {`, "GET /jwt/v1/packs: 200 is in the document, but no test"},
		{`"const": "Authorization"`, `"const": "Cookie"`, "Access-Control-Expose-Headers: Authorization: "},
	} {
		t.Run(c.want, func(t *testing.T) {
			edited := strings.ReplaceAll(string(openAPI), c.had, c.has)
			if edited == string(openAPI) {
				t.Fatalf("the document does not have %s", c.had)
			}
			held := newContract([]byte(edited))
			r := httptest.NewRequest(http.MethodGet, "/jwt/v1/pack?max=x", nil)
			r.Header.Set("Origin", "http://ex.com")
			held.record(httpapi.New(httpapi.Options{})).ServeHTTP(httptest.NewRecorder(), r)
			if !strings.Contains(strings.Join(held.report(true), "\n"), c.want) {
				t.Error("is not noticed; without what was not seen:", held.report(false))
			}
		})
	}
}

// call is a request, and the status that it is to have. A GET is repeated as HEAD.
type call struct {
	send    string
	status  int
	prepare func(*environment)
	options func(*httpapi.Options)
	guarded bool // credentials are asked for
}

func guarded(o *httpapi.Options) { o.Authorizer = &fakeAuthorizer{} }

// calls are those that differ from route to route.
var calls = []call{
	{send: "GET /jwt/v1/accounts/$A\nVia: 1.1 x", status: 200},
	{send: "GET /jwt/v1/accounts/$A?text=true", status: 200},
	{send: "GET /jwt/v1/accounts/$A?decode=true", status: 200},
	{send: "GET /jwt/v1/accounts/$A?check=true&notify=true", status: 200},
	{send: "GET /jwt/v1/accounts/$A?delivery=true&verify=true&after=n", status: 200},
	{send: "GET /jwt/v1/accounts/$A\nIf-None-Match: $ETAG", status: 304},
	{send: "GET /jwt/v1/accounts/$B", status: 404},
	{send: "GET /jwt/v1/accounts/$D", status: 500},
	{send: "GET /jwt/v1/accounts/$A", status: 500, options: func(o *httpapi.Options) { o.Accounts = nil }},
	{send: "GET /jwt/v1/accounts/$A?jti=x", status: 501},
	{send: "GET /jwt/v1/accounts/$A/impact", status: 200},
	{send: "GET /jwt/v1/accounts/$A/impact?json", status: 200},
	{send: "GET /jwt/v1/accounts/$B/impact", status: 404},
	{send: "GET /jwt/v1/accounts/x/impact", status: 404},
	{send: "GET /jwt/v1/accounts", status: 200},
	{send: "GET /jwt/v1/accounts/", status: 200},
	{send: "GET /jwt/v1/activations/$HASH?notify=true\nVia: 1.1 x", status: 200},
	{send: "GET /jwt/v1/activations/$HASH?text=true", status: 200},
	{send: "GET /jwt/v1/activations/$HASH?decode=true", status: 200},
	{send: "GET /jwt/v1/activations/$HASH\nIf-None-Match: *", status: 304},
	{send: "GET /jwt/v1/activations/$A", status: 404},
	{send: "GET /jwt/v1/activations/$DAMAGED", status: 500},
	{send: "GET /jwt/v1/operator", status: 200},
	{send: "GET /jwt/v1/operator?text=true", status: 200},
	{send: "GET /jwt/v1/operator?decode=true", status: 200},
	{send: "GET /jwt/v1/operator\nIf-None-Match: *", status: 304},
	{send: "GET /jwt/v1/operator", status: 404, options: withoutOperator},
	{send: "OPTIONS /jwt/v1/operator", status: 404, options: withoutOperator},
	{send: "GET /jwt/v1/operator?decode=true", status: 500,
		options: func(o *httpapi.Options) { o.Operator = []byte("x") }},
	{send: "GET /jwt/v1/pack", status: 200},
	{send: "GET /jwt/v1/pack\nIf-None-Match: *", status: 304},
	{send: "GET /jwt/v1/pack?max=x", status: 400},
	{send: "GET /jwt/v1/pack", status: 500,
		prepare: func(env *environment) { env.store.scanErr = jwtstore.ErrDirectory }},
	{send: "GET /jwt/v1/help", status: 200},
	{send: "GET /jwt/v1/help\nIf-None-Match: *", status: 304},
	{send: "GET /jwt/v1/openapi.json", status: 200},
	{send: "GET /jwt/v1/openapi.json\nIf-None-Match: *", status: 304},
	{send: "GET /healthz", status: 200},
	{send: "GET /readyz", status: 200},
	{send: "GET /readyz", status: 503, prepare: func(env *environment) { env.store.saveErr = errDisk }},
	{send: "GET /metrics?name[]=go_info\nAccept-Encoding: gzip", status: 200},
	{send: "GET /metrics\nAccept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;" +
		"encoding=delimited", status: 200},
	{send: "GET /metrics\nIf-None-Match: *", status: 304},
	{send: "GET /varz", status: 200},
	{send: "GET /accountz?prefix=s&pending=true&limit=5&after=A", status: 200},
	{send: "GET /accountz?incomplete=true", status: 200},
	{send: "GET /accountz?acc=$A", status: 404},
	{send: "GET /accountz?limit=x", status: 400},
	{send: "GET /serverz?offset=0&limit=5", status: 200},
	{send: "GET /serverz?offset=-1", status: 400},

	{send: "POST /jwt/v1/accounts/$A?wait=1ms\n\n$JWT", status: 200},
	{send: "POST /jwt/v1/accounts/$A\n\n$SELF", status: 202,
		prepare: func(env *environment) { env.signer.answer = []byte("in work") }},
	{send: "POST /jwt/v1/accounts/$A\n\nx", status: 400},
	{send: "POST /jwt/v1/accounts/$A\n\n$GONE", status: 400}, // with validation issues
	{send: "POST /jwt/v1/accounts/$A\n\n$OLD", status: 409},
	{send: "POST /jwt/v1/accounts/$A\nContent-Length: 1048577\n\nx", status: 413},
	{send: "POST /jwt/v1/accounts/$B\n\n$NEW", status: 500,
		prepare: func(env *environment) { env.store.saveErr = errDisk }},
	{send: "POST /jwt/v1/accounts/$A\n\n$SELF", status: 500,
		prepare: func(env *environment) { env.signer.err = &accounts.SignError{Cause: "no reply"} }},
	{send: "POST /jwt/v1/accounts/$A\nIf-Match: \"x\"\n\n$LATER", status: 412},
	{send: "POST /jwt/v1/accounts/$A\nIf-None-Match: *\n\n$LATER", status: 412},
	{send: "POST /jwt/v1/accounts/$A/dry-run\n\n$LATER", status: 200},
	{send: "POST /jwt/v1/accounts/$A/dry-run?json&connections=true\nIf-Match: *\n\n$LATER", status: 200},
	{send: "POST /jwt/v1/accounts/$A/dry-run\n\n$SELF", status: 202,
		prepare: func(env *environment) { env.signer.answer = []byte("in work") }},
	{send: "POST /jwt/v1/accounts/$A/dry-run?json\n\n$SELF", status: 202,
		prepare: func(env *environment) { env.signer.answer = []byte("in work") }},
	{send: "POST /jwt/v1/accounts/$A/dry-run\n\n$GONE", status: 400},
	{send: "POST /jwt/v1/accounts/$A/dry-run\nAccept: application/json;q=1\n\nx", status: 400},
	{send: "POST /jwt/v1/accounts/$A/dry-run\n\n$OLD", status: 409},
	{send: "POST /jwt/v1/accounts/$A/dry-run?json=true\n\n$OLD", status: 409},
	{send: "POST /jwt/v1/accounts/$A/dry-run\nIf-None-Match: *\n\n$LATER", status: 412},
	{send: "POST /jwt/v1/accounts/$A/dry-run?json\nIf-Match: \"x\"\n\n$LATER", status: 412},
	{send: "POST /jwt/v1/accounts/$A/dry-run\n\n$LATER", status: 413,
		prepare: func(env *environment) { env.announcer.maxPayload = 100 }},
	{send: "POST /jwt/v1/accounts/$A/dry-run?json\n\n$LATER", status: 413,
		prepare: func(env *environment) { env.announcer.maxPayload = 100 }},
	{send: "POST /jwt/v1/activations\n\n$TOKEN", status: 200},
	{send: "POST /jwt/v1/activations\n\n$BADTOKEN", status: 400}, // with validation issues
	{send: "POST /jwt/v1/activations\n\n$OLDTOKEN", status: 409},
	{send: "POST /jwt/v1/activations\nContent-Length: 1048577\n\nx", status: 413},
	{send: "POST /jwt/v1/activations\n\n$NEWTOKEN", status: 500,
		prepare: func(env *environment) { env.store.saveErr = errDisk }},

	{send: "GET /healthz/", status: 301},
	{send: "GET /nothing", status: 404},
	{send: "POST /jwt/v1/accounts/$A/\n\nx", status: 307},
	{send: "POST /nothing\n\nx", status: 404},
	{send: "OPTIONS /nothing", status: 404},
}

// preflight are the headers of one.
const preflight = "\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: x-foo"

// documentCalls returns what every route does: it answers OPTIONS and preflights, it checks credentials
// where the document says that they are needed, and a POST can be taken away from it.
func documentCalls() []call {
	var found []call
	for path, item := range newContract(openAPI).doc.Paths.Map() {
		path = strings.NewReplacer("{key}", "$A", "{hash}", "$HASH").Replace(path)
		found = append(found, call{send: "OPTIONS " + path + preflight, status: 204})
		if path != otherPaths {
			found = append(found, call{send: "OPTIONS " + path, status: 200},
				call{send: "DELETE " + path, status: 405})
		}
		for method, op := range item.Operations() {
			if method == http.MethodHead || op.Security == nil || len(*op.Security) == 0 {
				continue
			}
			for header, status := range map[string]int{
				"": 401, "\nAuthorization: unknown": 403, "\nAuthorization: slowed": 429,
				"\nAuthorization: busy": 503,
			} {
				found = append(found,
					call{send: method + " " + path + header, status: status, guarded: true})
			}
			if method == http.MethodPost {
				found = append(found, call{send: method + " " + path, status: 405,
					options: func(o *httpapi.Options) { o.ReadOnly = true }})
			}
		}
	}
	return found
}

// prepared returns the words of the calls.
func prepared(t *testing.T, env *environment) *strings.Replacer {
	s := fill(t, env)
	token, hash := jwttest.Activation(t, s.a, s.b, env.now.Add(-time.Minute))
	older, _ := jwttest.Activation(t, s.a, s.b, env.now.Add(-time.Hour))
	newer, _ := jwttest.Activation(t, s.a, s.b, env.now)
	bad, _ := jwttest.Activation(t, s.a, s.b, env.now, func(c *jwt.ActivationClaims) { c.Expires = 1 })
	damaged := strings.Repeat("A", 52) + "===="
	env.store.put(hash, token)
	env.store.put(damaged, []byte("x"))
	return strings.NewReplacer(slices.Concat([]string{
		"$HASH", hash, "$DAMAGED", damaged,
		"$TOKEN", string(token), "$OLDTOKEN", string(older), "$NEWTOKEN", string(newer),
		"$BADTOKEN", string(bad),
		"$SELF", string(jwttest.Sign(t, s.a.Key, s.a, time.Now())),
		"$OLD", string(jwttest.Sign(t, env.op.Key, s.a, env.now.Add(-time.Hour))),
		"$LATER", string(jwttest.Sign(t, env.op.Key, s.a, env.now.Add(time.Minute))),
		"$NEW", string(env.op.Account(t, s.b)),
		"$GONE", string(env.op.Account(t, s.a, expiring(env.now.Add(-time.Hour)))),
	}, s.words)...)
}

// TestEveryAnswerOfTheOpenAPIDocument gives, with the other tests, all that the document has. What is
// lacking of it is found by checkContract.
func TestEveryAnswerOfTheOpenAPIDocument(t *testing.T) {
	// Most calls can share a server.
	plain, plainWords := call{}.serveCall(t)
	asking, askingWords := call{options: guarded}.serveCall(t)
	for _, c := range slices.Concat(calls, documentCalls()) {
		methods := []string{""}
		if strings.HasPrefix(c.send, "GET ") {
			methods = []string{"GET", "HEAD"}
		}
		for _, method := range methods {
			if method != "" {
				c.send = method + c.send[strings.Index(c.send, " "):]
			}
			t.Run(c.send, func(t *testing.T) {
				switch {
				case c.guarded:
					c.run(t, asking, askingWords)
				case c.prepare == nil && c.options == nil:
					c.run(t, plain, plainWords)
				default:
					address, words := c.serveCall(t)
					c.run(t, address, words)
				}
			})
		}
	}
}

// watchedStore is a store whose check can fail.
type watchedStore struct {
	*jwtstore.Memory
	fault error
}

func (s *watchedStore) Check() error { return s.fault }

// watch adds the routes that say how the server is doing, once it has compared what is stored.
func watch(t *testing.T, o *httpapi.Options, store *watchedStore) {
	o.Accounts.Review(t.Context(), false)
	store.Outbox().Register("n1", time.Now())
	_, err := store.Put(t.Context(), jwttest.NewAccount(t).ID, "http", []byte("x"),
		func(jwtstore.Stored) (jwtstore.Version, error) {
			return jwtstore.Version{Servable: true, Expires: time.Now().Add(time.Hour).Unix(),
				Summary: jwtstore.Summary{Name: "sample"}}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	o.Metrics = monitor.NewMetrics("", "")
	o.Monitor = monitor.New(monitor.Options{
		Metrics: o.Metrics, Accounts: o.Accounts, Store: store, Index: store.Index(), Outbox: store.Outbox(),
		Log:         o.Log,
		Notifier:    notifier.New(notifier.Options{Outbox: store.Outbox(), Log: o.Log}),
		Replica:     func() (replica.State, bool) { return replica.State{}, false },
		Bucket:      func() (bucket.State, bool) { return bucket.State{}, false },
		Connections: func() int64 { return 0 },
	})
}

// serveCall starts a server for a call, and returns its address and the words of the calls.
func (c call) serveCall(t *testing.T) (address string, words *strings.Replacer) {
	store := &watchedStore{Memory: jwtstore.NewMemory(true)}
	edits := []func(*httpapi.Options){func(o *httpapi.Options) { watch(t, o, store) }}
	if c.options != nil {
		edits = append(edits, c.options)
	}
	env := newEnvironment(t, edits...)
	words = prepared(t, env)
	if c.prepare != nil {
		c.prepare(env)
	}
	store.fault = env.store.saveErr
	return serve(t, env.api), words
}

// run sends the call.
func (c call) run(t *testing.T, address string, words *strings.Replacer) {
	head, body, hasBody := strings.Cut(c.send, "\n\n")
	head += "\nOrigin: http://ex.com"
	if hasBody {
		head += "\n\n" + body
	}
	got := ask(t, address, words.Replace(head))
	if !strings.HasPrefix(got, itoa(c.status)+" ") {
		t.Errorf("want %d:\n%s", c.status, got)
	}
	if !variesWithOrigin.MatchString(got) {
		t.Errorf("a cache may give the answer to another origin:\n%s", got)
	}
}

var variesWithOrigin = regexp.MustCompile(`(?m)^Vary: (.*, )?Origin\b`)
