package trust

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// Head is what a JWT says of itself, read without checking the signature: enough to refuse most of what is to be
// refused for the price of parsing a little JSON.
type Head struct {
	Subject  string `json:"sub"`
	Issuer   string `json:"iss"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"` // Unix seconds
	Expires  int64  `json:"exp"` // Unix seconds, 0 = never

	Payload []byte `json:"-"` // the middle part, still encoded
}

// strict refuses what Go's decoder would otherwise overlook: line breaks inside a part and stray bits in its last
// character. Either would give one JWT several spellings.
var strict = base64.RawURLEncoding.Strict()

// Peek reads the head of an account JWT, version 1 or 2. It fails for anything else that a JWT can be.
func Peek(token []byte) (Head, error) {
	claims, payload, err := Payload(token)
	if err != nil {
		return Head{}, err
	}
	var body struct {
		Head
		Type jwt.ClaimType `json:"type"` // version 1
		Nats struct {
			Type jwt.ClaimType `json:"type"` // version 2
		} `json:"nats"`
	}
	if err := json.Unmarshal(claims, &body); err != nil {
		return Head{}, err
	}
	body.Payload = payload
	if body.Type != jwt.AccountClaim && body.Nats.Type != jwt.AccountClaim {
		return body.Head, ErrNotAccount
	}
	if !IsAccountKey(body.Issuer) && !IsOperatorKey(body.Issuer) {
		return body.Head, errors.New("unable to validate expected prefixes - [account operator]")
	}
	return body.Head, nil
}

// Payload returns the middle part of any JWT, decoded and as it is, if each part is in its one spelling.
func Payload(token []byte) (claims, encoded []byte, err error) {
	parts := bytes.Split(token, []byte{'.'})
	if len(parts) != 3 {
		return nil, nil, errors.New("expected 3 chunks")
	}
	for i, p := range parts {
		raw, err := decodePart(p)
		if err != nil {
			return nil, nil, err
		}
		if i == 1 {
			claims = raw
		}
	}
	return claims, parts[1], nil
}

func decodePart(p []byte) ([]byte, error) {
	if i := bytes.IndexAny(p, "\r\n"); i >= 0 {
		return nil, fmt.Errorf("illegal line break at input byte %d", i)
	}
	out := make([]byte, strict.DecodedLen(len(p)))
	n, err := strict.Decode(out, p)
	return out[:n], err
}
