package httpapi

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/logging"
)

// The decoded view of a JWT is for people:
//
//	{ header: typ, alg }          four spaces of indent, HTML not escaped
//	<CR>
//	{ claims, keys sorted }       numbers as they stand in the JWT; iat, exp and nbf with their date
//	<CR>
//	signature                     as it stands in the JWT
//
// Strings called token are activation JWTs. Their claims are shown in their place, in the order in
// which nsc writes them, so the result is not quite JSON. The signature is not checked: the view is
// for finding out what is wrong with a JWT.
const (
	separator = "\n\r\n"
	indent    = "    "

	// maxDepth bounds the objects and lists within each other.
	maxDepth = 64
	// maxRenderedBytes bounds the view, since deep lists could need a great many spaces.
	maxRenderedBytes = 8 << 20
)

// What keeps a JWT from being shown. Both are wrapped.
var (
	errTooDeep = errors.New("too deeply nested")
	errTooLong = errors.New("too long when decoded")
)

// header is what a JWT's header has, "" for what is missing.
type header struct {
	Type      string `json:"typ"`
	Algorithm string `json:"alg"`
}

// decode renders a JWT. Its errors wrap errHeader, errClaim or errTokens. token may have space
// around it, and may be of any kind.
//
// The order of the steps is that of the original's errors: a bad header is told before a wrong
// number of parts, and that before bad claims.
func decode(token []byte) (string, error) {
	if len(token) > maxBodyBytes {
		return "", fmt.Errorf("%w: %w", errClaim, errTooLong)
	}
	// Up to four, so that one part too many shows and a great many cost nothing.
	parts := strings.SplitN(string(bytes.TrimSpace(token)), ".", 4)
	var h header
	// The header comes before the number of parts is looked at.
	raw, err := decodePart(parts[0])
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errHeader, err)
	}
	if len(parts) != 3 {
		return "", fmt.Errorf("%w: expected 3 chunks", errClaim)
	}
	// The signature is only shown, but it must be base64url like the rest.
	claims, err := readClaims(parts[1])
	if err == nil {
		_, err = decodePart(parts[2])
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errClaim, err)
	}
	text, err := render(h, claims, parts[2])
	if err != nil {
		return "", fmt.Errorf("%w: %w", errTokens, err)
	}
	return text, nil
}

// decodePart decodes base64url. Unlike Go's decoder it refuses line breaks.
func decodePart(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("line break within a chunk")
	}
	return base64.RawURLEncoding.DecodeString(part)
}

// readClaims parses a part into a tree of map[string]any, []any, json.Number, string, bool and nil.
func readClaims(part string) (map[string]any, error) {
	raw, err := decodePart(part)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	// A float64 would change large numbers.
	d.UseNumber()
	var tree map[string]any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	// Text behind the object, or a null, is no JWT.
	if _, err := d.Token(); err != io.EOF || tree == nil {
		return nil, errors.New("the claims are not one object")
	}
	return tree, nil
}

// printer writes a tree as text. After an error it goes on for a bounded number of bytes, and the
// text is of no use. It is made for one JWT. Depth counts objects and lists from 0.
type printer struct {
	bytes.Buffer
	// json writes to the Buffer.
	json *json.Encoder
	// err is errTooDeep or errTooLong.
	err error
}

// render puts the three parts of a JWT together.
func render(h header, claims map[string]any, signature string) (string, error) {
	p := &printer{}
	p.json = json.NewEncoder(&p.Buffer)
	// The text is sent as text/plain, so no browser takes it for HTML.
	p.json.SetEscapeHTML(false)
	p.json.SetIndent("", indent)
	p.encode(h)
	p.WriteString(separator)
	p.object(claims, nil, 0)
	p.WriteString(separator + signature + "\n")
	if p.Len() > maxRenderedBytes {
		p.err = errTooLong
	}
	return p.String(), p.err
}

// encode writes what is the same in JSON.
func (p *printer) encode(v any) {
	_ = p.json.Encode(v)    // what was JSON always can be
	p.Truncate(p.Len() - 1) // the encoder ends each value with a line break
}

// newline begins a line with the indent of a depth. It finds what is too deep or too long. depth is
// 0 for the outermost object.
func (p *printer) newline(depth int) {
	switch {
	case depth > maxDepth:
		p.err = errTooDeep
	// The indent grows with the depth, so a small JWT can make a large text.
	case p.Len() > maxRenderedBytes:
		p.err = errTooLong
	default:
		p.WriteString("\n" + strings.Repeat(indent, depth))
	}
}

// enclose writes n elements in brackets, one on a line. It ends early after an error. brackets are
// "{}" or "[]". Without elements the brackets stand together: {} or [].
func (p *printer) enclose(brackets string, n, depth int, element func(i int)) {
	p.WriteString(brackets[:1])
	// After an error the rest is not written. The brackets still are, to keep this simple.
	for i := 0; i < n && p.err == nil; i++ {
		if i > 0 {
			p.WriteString(",")
		}
		p.newline(depth + 1)
		element(i)
	}
	if n > 0 {
		p.newline(depth)
	}
	p.WriteString(brackets[1:])
}

// object writes the members that order names first, in that order, the others sorted behind them.
func (p *printer) object(members map[string]any, order []string, depth int) {
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	names := slices.SortedFunc(maps.Keys(members), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
	p.enclose("{}", len(names), depth, func(i int) {
		p.encode(names[i])
		p.WriteString(": ")
		p.member(names[i], members[names[i]], order, depth+1)
	})
}

// member writes a value that has a name. Names mark dates and activation tokens.
func (p *printer) member(name string, value any, order []string, depth int) {
	// An account has its imports' activation tokens under this name.
	if token, ok := value.(string); ok && name == "token" {
		p.activation(token, depth)
		return
	}
	p.value(value, order, depth)
	if number, ok := value.(json.Number); ok && (name == "iat" || name == "exp" || name == "nbf") {
		p.WriteString(date(number.String()))
	}
}

// value writes any value of the tree. order is for the objects in it.
func (p *printer) value(value any, order []string, depth int) {
	switch v := value.(type) {
	// Go's maps have no order, so object sorts.
	case map[string]any:
		p.object(v, order, depth)
	case []any:
		p.enclose("[]", len(v), depth, func(i int) { p.value(v[i], order, depth+1) })
	default:
		p.encode(v)
	}
}

// activationOrder is the order in which nsc writes activation claims, outer and inner members in
// one list.
var activationOrder = []string{
	"aud", "exp", "jti", "iat", "iss", "name", "nbf", "sub",
	"subject", "kind", "issuer_account", "tags", "type", "nats", "version",
}

// activation writes the claims of an activation JWT, or why there are none. They may contain a
// token again. That ends, since a JWT is a third larger than what it contains. The token's own
// signature is verified, so that a forged one is not taken for a good one. A bad token does not end
// the view: the rest of the JWT is shown.
func (p *printer) activation(token string, depth int) {
	var claims map[string]any
	// The library checks the signature. Its claims have lost what it does not know, so they are
	// read again.
	_, err := jwt.DecodeActivationClaims(token)
	if err == nil {
		claims, err = readClaims(strings.Split(token, ".")[1])
	}
	if err != nil {
		p.WriteString("<bad token - " + logging.Quote(err.Error(), maxDetailBytes) + ">")
		return
	}
	p.object(claims, activationOrder, depth)
}

// date returns the time of a number of Unix seconds, in UTC. It is "" unless the number is written
// as an integer. It is an empty pair of brackets for 0 and for what is in no calendar.
func date(number string) string {
	if strings.ContainsAny(number, ".eE") {
		return ""
	}
	const year0, year10000 = -62167219200, 253402300800
	seconds, err := strconv.ParseInt(number, 10, 64)
	if err != nil || seconds == 0 || seconds < year0 || seconds >= year10000 {
		return " ()"
	}
	return time.Unix(seconds, 0).UTC().Format(" (2006-01-02 15:04:05 UTC)")
}
