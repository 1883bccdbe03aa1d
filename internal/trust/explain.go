package trust

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Explain adds to an error about a JWT what is wrong in plain words, and what to do, as far as that
// can be told. The words of err come first: people look for them. token is without the space around
// it. Of what it says, only kinds, numbers and single characters are repeated. The result wraps
// err. It is called for refusals only, so it may take its time.
func Explain(token []byte, err error) error {
	if member, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return badMember(member)
	}
	if hasPrivateKey(token) {
		return fmt.Errorf("%w: %w", err, ErrPrivateKey)
	}
	// Each of them needs what the ones before it have found no fault with.
	hint := explainText(token)
	if hint == "" {
		hint = explainParts(token)
	}
	if hint == "" {
		hint = explainKind(token, err)
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}

// badMember tells of a member of the claims whose value is of the wrong kind. Example: "exp is
// string: it must be a whole number, the seconds since 1970".
func badMember(e *json.UnmarshalTypeError) error {
	name := e.Field[strings.LastIndexByte(e.Field, '.')+1:]
	value := e.Value[:min(len(e.Value), 40)]
	switch name {
	case "iat", "exp", "nbf":
		value = strings.TrimPrefix(value, "number ")
		return fmt.Errorf("%s is %s: it must be a whole number, the seconds since 1970",
			name, value)
	}
	return fmt.Errorf("the member %.40q of the claims can't be a %s", name, value)
}

// beginning is how a text begins that is no JWT, and what that text is.
type beginning struct{ with, hint string }

// beginnings has the mistakes that the first bytes show. The first that fits counts.
var beginnings = []beginning{
	{"\x1f\x8b", "it is compressed with gzip: send it as it is"},
	{"\x28\xb5\x2f\xfd", "it is compressed with zstd: send it as it is"},
	{"\xff\xfe", textUTF16},
	{"\xfe\xff", textUTF16},
	{"\xef\xbb\xbf",
		"it begins with a byte order mark: save the file as ASCII, or as UTF-8 without it"},
	{"{", "it is JSON: send the JWT itself, as nsc describe account --raw prints it"},
	{"[", "it is JSON: send one JWT, not a list"},
	{"<", "it is HTML or XML: it may be the error page of a server between"},
	{`"`, "there are quotes around it: send it without them"},
	{"'", "there are quotes around it: send it without them"},
}

const textManyJWTs = "there are %d JWTs in it: put each into a file or a request of its own"

const textUTF16 = "it is UTF-16, as PowerShell writes a file: save it as ASCII"

// explainText tells what a text is that is no JWT, "" if it looks like one. The order goes from
// what is certain to what is likely.
func explainText(text []byte) string {
	if len(text) == 0 {
		return "it is empty: send the JWT, for instance with curl --data-binary @account.jwt"
	}
	for _, b := range beginnings {
		if bytes.HasPrefix(text, []byte(b.with)) {
			return b.hint
		}
	}
	switch {
	case bytes.Contains(text, []byte("Content-Disposition: form-data")):
		return "it is a form, as curl -F sends one: use curl --data-binary @account.jwt"
	case len(decorated(text)) > 0:
		return "it stands between lines BEGIN and END, which can't be served: " +
			"take them away, or push it"
	case bytes.HasPrefix(text, []byte("---")) && bytes.Contains(text, []byte("---END ")) &&
		!bytes.ContainsAny(text, "\r\n"):
		return "its line ends are missing, which curl -d takes away: use curl " +
			"--data-binary @account.jwt"
	case bytes.HasPrefix(text, []byte("---")):
		return "its lines BEGIN and END are not as nsc writes them: it may be cut off"
	case len(text) > 1 && (text[0] == 0 || text[1] == 0):
		return textUTF16
	case bytes.HasSuffix(text, []byte(".jwt")):
		return "it is the name of a file: curl sends the file with --data-binary @account.jwt"
	case len(text) == KeyLength && IsBase32(string(text)):
		return "it is a key: send the JWT"
	}
	return explainBytes(text)
}

// explainBytes tells of bytes that no JWT has. Bytes are counted from 0.
func explainBytes(text []byte) string {
	jwts := 0
	for word := range bytes.FieldsSeq(text) {
		if bytes.Contains(word, []byte("eyJ")) && bytes.Count(word, []byte{'.'}) == 2 {
			jwts++
		}
	}
	if jwts > 1 {
		return fmt.Sprintf(textManyJWTs, jwts)
	}
	for i, c := range text {
		switch {
		case c == ' ', '\t' <= c && c <= '\r':
			return fmt.Sprintf("there is white space within it, at byte %d: a "+
				"JWT is one line without any", i)
		case c < ' ', c > '~':
			return fmt.Sprintf("byte %d is 0x%02x, which no JWT has: it is "+
				"compressed, encrypted or damaged", i, c)
		}
	}
	return ""
}

// explainParts tells which part of a JWT can't be decoded. The parts are looked at in their order.
func explainParts(token []byte) string {
	if dots := bytes.Count(token, []byte{'.'}); dots != 2 {
		return fmt.Sprintf("a JWT has three parts with dots between, and this has %d: it may be "+
			"cut off, or be something else", dots+1)
	}
	for i, part := range strings.Split(string(token), ".") {
		where := [...]string{"its header", "its claims", "its signature"}[i]
		_, err := strict.DecodeString(part)
		at, isCorrupt := errors.AsType[base64.CorruptInputError](err)
		switch {
		case err == nil:
		case strings.HasSuffix(part, "="):
			return where + " ends with the padding of base64: a JWT has none, take the = away"
		case strings.ContainsAny(part, "+/"):
			return where + " is written in the wrong base64: a JWT has - and _ for + and /"
		case isCorrupt && int(at) < len(part) && !isBase64(part[at]):
			return fmt.Sprintf("%s has the character %q, which no JWT has", where, part[at])
		default:
			return where + " is cut off or damaged"
		}
	}
	return ""
}

// isBase64 reports whether a character is one of base64url.
func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_'
}

// kinds says of the other kinds of JWTs where they belong.
var kinds = map[jwt.ClaimType]string{
	jwt.OperatorClaim: "it is the JWT of an operator, which belongs in operatorjwtpath",
	jwt.AccountClaim:  "it is the JWT of an account: POST it to /jwt/v1/accounts/<account key>",
	jwt.UserClaim: "it is the JWT of a user, which no server keeps: it is " +
		"sent when the user connects",
	jwt.ActivationClaim: "it is an activation token: POST it to /jwt/v1/activations",
}

// explainKind tells what a JWT is, or why err says that it is not good, if it can be decoded. Texts
// of err are those of the library, which has no values for them.
func explainKind(token []byte, err error) string {
	parts := bytes.Split(token, []byte{'.'})
	var h jwt.Header
	if text, _ := strict.DecodeString(string(parts[0])); json.Unmarshal(text, &h) != nil {
		return "its header is not JSON: it is cut off or damaged"
	}
	var claims claimType
	text, _ := strict.DecodeString(string(parts[1]))
	switch unreadable := json.Unmarshal(text, &claims); {
	case unreadable != nil:
		return "its claims are not JSON: it is cut off or damaged"
	case h.Valid() != nil:
		return fmt.Sprintf("its header has typ %.20q and alg %.20q: "+
			`one of NATS has "JWT" and "ed25519-nkey"`,
			h.Type, h.Algorithm)
	case strings.HasSuffix(err.Error(), "signature verification"):
		return "it was changed after it was signed, or the key in iss did not sign it"
	case strings.Contains(err.Error(), "expected prefixes"):
		return "its iss is a key of another kind"
	case strings.Contains(err.Error(), "newer version"):
		return "this program knows the versions 1 and 2"
	case !errors.Is(err, ErrNotAccount) && !errors.Is(err, ErrNotOperator) &&
		!errors.Is(err, ErrNotActivation):
		return ""
	}
	kind := cmp.Or(claims.Type, claims.Nats.Type)
	if hint, isKnown := kinds[kind]; isKnown {
		return hint
	}
	return fmt.Sprintf("its claims have the type %.20q", string(kind))
}
