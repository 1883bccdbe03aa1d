package trust

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// Head is what a JWT says of itself. Peek reads it without checking the signature: the price of
// parsing a little JSON is enough to refuse most of what is to be refused. The payload is JSON:
// {"jti": …, "iat": 1760000000, "iss": "O…", "sub": "A…", "nats": {…}}.
type Head struct {
	Subject  string `json:"sub"` // public key of the account
	Issuer   string `json:"iss"` // public key that has signed the JWT, as the JWT says
	ID       string `json:"jti"` // any text; log and audit show it
	IssuedAt int64  `json:"iat"` // Unix seconds
	Expires  int64  `json:"exp"` // Unix seconds; 0: never

	// Of an account JWT whose head Peek has read. Lists show them.
	Name     string   `json:"name"` // any text
	Imports  []string `json:"-"`    // of each import the account that exports, as the JWT says
	NoBearer bool     `json:"-"`    // users of the account can't have bearer tokens
	// JetStream says that the account may store something.
	JetStream bool `json:"-"`

	Payload []byte `json:"-"` // the middle part, still encoded
}

// claimType is the type of a JWT, which the two versions have at two places. The values are
// "account", "operator", "user", "activation" and others.
type claimType struct {
	Type jwt.ClaimType `json:"type"` // version 1
	Nats struct {
		Type jwt.ClaimType `json:"type"` // version 2
	} `json:"nats"`
}

// accountBody is claimType with what else is read of an account JWT. Fields that are not named here
// are skipped, which is most of a large JWT.
type accountBody struct {
	Head
	Type jwt.ClaimType `json:"type"`
	Nats struct {
		Type    jwt.ClaimType `json:"type"`
		Imports []struct {
			Account string `json:"account"`
		} `json:"imports"`
		Limits struct {
			DisallowBearer bool            `json:"disallow_bearer"`
			Memory         int64           `json:"mem_storage"`
			Disk           int64           `json:"disk_storage"`
			Tiers          json.RawMessage `json:"tiered_limits"`
		} `json:"limits"`
	} `json:"nats"`
}

// strict refuses stray bits in the last character of a part, which Go's decoder overlooks
// otherwise. They would give one JWT several spellings.
var strict = base64.RawURLEncoding.Strict()

// Peek reads the head of an account JWT, version 1 or 2. It fails for a JWT of any other kind, and
// says why. With an error the head holds what could be read. token has no space around it. Name and
// ID may be any text.
func Peek(token []byte) (Head, error) {
	claims, payload, err := Payload(token)
	if err != nil {
		return Head{}, Explain(token, err)
	}
	var body accountBody
	if err := json.Unmarshal(claims, &body); err != nil {
		return Head{}, Explain(token, err)
	}
	limits := body.Nats.Limits
	body.Payload, body.NoBearer = payload, limits.DisallowBearer
	// An absent limit is 0, which is none; -1 is unlimited. "{}" has no tiers.
	body.JetStream = limits.Memory != 0 || limits.Disk != 0 || len(limits.Tiers) > len("{}")
	for _, i := range body.Nats.Imports {
		body.Imports = append(body.Imports, i.Account)
	}
	switch {
	case body.Type != jwt.AccountClaim && body.Nats.Type != jwt.AccountClaim:
		err = ErrNotAccount
	case !IsAccountKey(body.Issuer) && !IsOperatorKey(body.Issuer):
		// This is the text of the jwt library, which clients know.
		err = errors.New("unable to validate expected prefixes - [account operator]")
	}
	if err != nil {
		err = Explain(token, err)
	}
	return body.Head, err
}

// readHead reads what a JWT of any kind says of itself; false if it can't be read. It accepts space
// around the token.
func readHead(token []byte) (head Head, ok bool) {
	claims, _, err := Payload(bytes.TrimSpace(token))
	if err != nil || json.Unmarshal(claims, &head) != nil {
		return Head{}, false
	}
	return head, true
}

// Issuer returns the public key that has signed a JWT of any kind, as the JWT says; "" if it can't
// be read.
func Issuer(token []byte) string {
	head, _ := readHead(token)
	return head.Issuer
}

// IssuedAt returns the iat of a JWT of any kind, as the JWT says; false if it can't be read. A JWT
// without iat has 0.
func IssuedAt(token []byte) (at int64, ok bool) {
	head, ok := readHead(token)
	return head.IssuedAt, ok
}

// Payload returns the middle part of any JWT, decoded and encoded. Each part must be in its one
// spelling. The three parts are header, claims and signature, in base64url without padding (RFC
// 7515).
func Payload(token []byte) (claims, encoded []byte, err error) {
	parts := bytes.SplitN(token, []byte{'.'}, 4) // a million dots cost nothing
	if len(parts) != 3 {
		return nil, nil, errors.New("expected 3 chunks")
	}
	var decoded [3][]byte
	for i, part := range parts {
		// Go's decoder skips line breaks, also in its strict mode.
		if at := bytes.IndexAny(part, "\r\n"); at >= 0 {
			return nil, nil, fmt.Errorf("illegal line break at input byte %d", at)
		}
		if decoded[i], err = strict.AppendDecode(nil, part); err != nil {
			return nil, nil, err
		}
	}
	return decoded[1], parts[1], nil
}

// Verify decodes an account JWT whose head Peek has read, and checks its signature against the
// issuer that it names. Trusts says whether that issuer is trusted. The signature check costs some
// 100 µs. The library checks neither dates nor limits here.
func Verify(token []byte, head Head) (*jwt.AccountClaims, error) {
	claims, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		return nil, Explain(token, err)
	}
	// A JSON object may have a member twice, and two decoders may take another one of them.
	if claims.Subject != head.Subject || claims.Issuer != head.Issuer ||
		claims.IssuedAt != head.IssuedAt {
		return nil, errors.New("the claims are ambiguous: a member is there twice, of which " +
			"programs may take another one")
	}
	return claims, nil
}

// Claims decodes an account JWT whose signature was verified before. The caller must know that:
// nothing is checked. The result is new for each call.
func Claims(token []byte) (*jwt.AccountClaims, error) {
	data, _, err := Payload(bytes.TrimSpace(token))
	if err != nil {
		return nil, err
	}
	claims := &jwt.AccountClaims{}
	claims.SigningKeys = make(jwt.SigningKeys)
	if err := json.Unmarshal(data, claims); err != nil || claims.Version < 2 {
		// The library knows how version 1 becomes version 2. It verifies the signature once more.
		return jwt.DecodeAccountClaims(string(bytes.TrimSpace(token)))
	}
	if len(claims.Limits.JetStreamTieredLimits) > 0 { // as the library does
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{}
	}
	return claims, nil
}

// headerOfVersion1 is the first part of all JWTs that the library of version 1 has made.
const headerOfVersion1 = "eyJ0eXAiOiJqd3QiLCJhbGciOiJlZDI1NTE5In0"

// IsRespelled reports whether the first part of a JWT may have been changed by another than its
// issuer: in version 1 the signature does not cover it. So one JWT could have any number of hashes.
// version is that of the claims.
func IsRespelled(token []byte, version int) bool {
	return version < 2 && !bytes.HasPrefix(token, []byte(headerOfVersion1+"."))
}

// ErrRespelled is why such a JWT is not stored.
var ErrRespelled = errors.New("its first part is not that of a JWT of version 1: push it as its " +
	"issuer has made it")

// Check reports whether token is a JWT of the account key that one of the operators signed,
// whatever its dates are. Without an operator a JWT only has to be consistent in itself. The error
// is for people: it says which operator did not sign. head is set as far as it could be read.
func (all Operators) Check(key string, token []byte) (head Head, err error) {
	if head, err = Peek(token); err != nil {
		return head, err
	}
	if err = all.CheckHead(key, head); err != nil {
		return head, err
	}
	// The signature is checked last, because it costs most.
	_, err = Verify(token, head)
	return head, err
}

// CheckHead is Check for a head that Peek has read. The signature is left to Verify.
func (all Operators) CheckHead(key string, head Head) error {
	if head.Subject != key || !IsAccountKey(key) {
		return fmt.Errorf("it is the JWT of another subject, not of %s", key)
	}
	if len(all) == 0 {
		return nil
	}
	return all.checkIssuer(head.Issuer)
}

// ParseAccount reads an account JWT file, bare or decorated, and checks the JWT's own signature.
// token is what is served of it. Check says whether an operator of ours signed it. text is the
// content of a file. An operator's or a user's JWT is ErrNotAccount.
func ParseAccount(text []byte) (token []byte, claims *jwt.AccountClaims, err error) {
	return parseFile[*jwt.AccountClaims](text, ErrNotAccount)
}
