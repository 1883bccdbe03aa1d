package httpapi_test

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"nats-account-server/internal/manual"
	"nats-account-server/internal/pages"
)

//go:embed openapi.json
var openAPI []byte

// theContract is what all tests of this package are held against.
var theContract = sync.OnceValue(func() *contract { return newContract(openAPI) })

// contract compares what handlers do with an OpenAPI document. kin-openapi is used since it knows version
// 3.1 and JSON Schema 2020-12, and comes with few other modules. Its router and its middleware are not
// used: they let pass what the document does not mention.
type contract struct {
	doc *openapi3.T

	// mu guards the fields below.
	mu     sync.Mutex
	unseen map[string]bool // what the document has, until it is seen
	valid  map[string]bool // schemas with texts that meet them
	faults map[string]bool
}

// otherPaths stands for all paths that are no route.
const otherPaths = "/x-other-paths"

func newContract(document []byte) *contract {
	var raw map[string]any
	if err := json.Unmarshal(document, &raw); err != nil {
		panic(err)
	}
	// The extension has the form of a path, so the library can resolve its references.
	raw["paths"].(map[string]any)[otherPaths] = raw["x-other-paths"]
	document, _ = json.Marshal(raw)
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		panic(err)
	}
	c := &contract{doc: doc, unseen: map[string]bool{}, valid: map[string]bool{}, faults: map[string]bool{}}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			c.expect(method+" "+path, op)
		}
	}
	return c
}

// expect notes everything that the document says of an operation.
func (c *contract) expect(name string, op *openapi3.Operation) {
	for _, p := range op.Parameters {
		c.unseen[name+": "+p.Value.In+" parameter "+p.Value.Name] = true
	}
	for status, response := range op.Responses.Map() {
		what := name + ": " + status
		c.unseen[what] = true
		for media := range response.Value.Content {
			c.unseen[what+" "+media] = true
		}
		for header := range response.Value.Headers {
			c.unseen[what+" "+header] = true
		}
	}
}

// recorded returns a handler whose answers are compared with the document. Benchmarks and fuzz tests ask
// the handler itself.
func recorded(t testing.TB, h http.Handler) http.Handler {
	if _, isTest := t.(*testing.T); !isTest {
		return h
	}
	return theContract().record(h)
}

func (c *contract) record(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &recordedAnswer{ResponseWriter: w}
		// The handler may change the request.
		asked := r.Clone(r.Context())
		h.ServeHTTP(a, r)
		c.compare(asked, a)
	})
}

// recordedAnswer keeps what is sent.
type recordedAnswer struct {
	http.ResponseWriter
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *recordedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *recordedAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status, a.header = status, a.Header().Clone()
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *recordedAnswer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status, a.header = http.StatusOK, a.Header().Clone()
	}
	a.body.Write(p)
	return a.ResponseWriter.Write(p)
}

// compare notes what is seen of the document in one answer, and what of the answer it lacks.
func (c *contract) compare(r *http.Request, a *recordedAnswer) {
	if r.URL.Path == "*" {
		return // it is about no path
	}
	if isPage(r, a) {
		return // it is for people
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	path, item := c.match(r.URL.Path)
	name := r.Method + " " + path
	op := item.GetOperation(r.Method)
	if op == nil {
		c.compareLocked(name, a, r, c.otherMethod(path))
		return
	}
	for _, p := range op.Parameters {
		values := r.Header.Values(p.Value.Name)
		if p.Value.In == openapi3.ParameterInQuery {
			values = r.URL.Query()[p.Value.Name]
		}
		if len(values) > 0 {
			delete(c.unseen, name+": "+p.Value.In+" parameter "+p.Value.Name)
		}
	}
	status := strconv.Itoa(a.status)
	response := op.Responses.Value(status)
	if response == nil {
		c.faults[name+": "+status+" is not in the document: "+a.body.String()] = true
		return
	}
	c.compareLocked(name, a, r, response.Value)
}

// isPage reports whether an answer is one of the pages for people, or of what they consist of.
func isPage(r *http.Request, a *recordedAnswer) bool {
	path := r.URL.Path
	return a.header.Get("Content-Security-Policy") != "" || path == "/events" ||
		strings.HasPrefix(path, manual.Root) || strings.HasPrefix(path, pages.AssetPath)
}

// match returns the path of the document that a path of a request belongs to.
func (c *contract) match(path string) (string, *openapi3.PathItem) {
	for known, item := range c.doc.Paths.Map() {
		prefix, parameter, _ := strings.Cut(known, "{")
		_, suffix, _ := strings.Cut(parameter, "}")
		rest, found := strings.CutPrefix(path, prefix)
		if found && suffix != "" {
			rest, found = strings.CutSuffix(rest, suffix)
		}
		if found && (rest == "") == (parameter == "") && !strings.Contains(rest, "/") &&
			(parameter != "" || path == known) {
			return known, item
		}
	}
	return otherPaths, c.doc.Paths.Value(otherPaths)
}

// otherMethod returns how a method is answered that a path does not have.
func (c *contract) otherMethod(path string) *openapi3.Response {
	if path == otherPaths {
		return c.doc.Components.Responses["NoRoute"].Value
	}
	return c.doc.Components.Responses["NoMethod"].Value
}

// ofHTTP are headers that belong to HTTP itself.
var ofHTTP = []string{"Connection", "Content-Length", "Content-Type", "Date"}

// compareLocked compares an answer with its response. c.mu must be held.
func (c *contract) compareLocked(name string, a *recordedAnswer, r *http.Request, want *openapi3.Response) {
	what := name + ": " + strconv.Itoa(a.status)
	delete(c.unseen, what)
	for header := range want.Headers {
		if want.Headers[header].Value.Required && a.header.Get(header) == "" {
			c.faults[what+" lacks the header "+header] = true
		}
	}
	headers := map[string]*openapi3.HeaderRef{}
	for header, ref := range want.Headers {
		headers[http.CanonicalHeaderKey(header)] = ref
		if a.header.Get(header) != "" {
			delete(c.unseen, what+" "+header)
		}
	}
	for header := range a.header {
		switch ref := headers[header]; {
		case slices.Contains(ofHTTP, header):
		case ref == nil:
			c.faults[what+" has the header "+header+", which is not in the document"] = true
		default:
			c.validateLocked(what+" "+header, ref.Value.Schema, a.header.Get(header))
		}
	}
	c.compareBodyLocked(what, a, r, want)
}

// compareBodyLocked compares the media type and the body. c.mu must be held.
func (c *contract) compareBodyLocked(
	what string, a *recordedAnswer, r *http.Request, want *openapi3.Response,
) {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if media == "" {
		if a.body.Len() > 0 {
			c.faults[what+" has a body without Content-Type"] = true
		}
		return
	}
	content := want.Content[media]
	if content == nil {
		c.faults[what+" has the media type "+media+", which is not in the document"] = true
		return
	}
	delete(c.unseen, what+" "+media)
	var body any = a.body.String()
	if media == "application/json" {
		if err := json.Unmarshal(a.body.Bytes(), &body); err != nil {
			c.faults[what+" is not JSON: "+err.Error()] = true
		}
	}
	if r.Method != http.MethodHead {
		c.validateLocked(what+" "+media, content.Schema, body)
	}
}

// validateLocked holds a value against its schema. c.mu must be held.
func (c *contract) validateLocked(what string, schema *openapi3.SchemaRef, value any) {
	id := fmt.Sprintf("%p %v", schema.Value, value)
	if c.valid[id] {
		return
	}
	err := c.doc.ValidateSchemaJSON(schema.Value, value, openapi3.EnableJSONSchema2020())
	if err != nil {
		c.faults[fmt.Sprintf("%s: %v: %v", what, value, err)] = true
	}
	c.valid[id] = true
}

// report returns what is wrong, sorted. Whether everything was seen is known only after all tests.
func (c *contract) report(all bool) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := slices.Sorted(maps.Keys(c.faults))
	if all {
		for _, what := range slices.Sorted(maps.Keys(c.unseen)) {
			lines = append(lines, what+" is in the document, but no test has seen it")
		}
	}
	return lines
}

// checkContract returns the exit code after the tests.
func checkContract(code int) int {
	all := true
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.bench"} {
		all = all && cmp.Or(flag.Lookup(name).Value.String(), "") == ""
	}
	lines := theContract().report(all && code == 0)
	if len(lines) == 0 {
		return code
	}
	fmt.Printf("openapi.json and the handlers differ:\n%s\n", strings.Join(lines, "\n"))
	return 1
}
