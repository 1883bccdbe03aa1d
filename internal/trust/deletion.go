package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// Deletion is an order to delete accounts, as nsc makes it: claims of no particular kind whose data
// is {"accounts": ["A…"]}, signed by the operator or one of its signing keys in its own name.
type Deletion struct {
	Issuer   string            // public key, a trusted one
	IssuedAt int64             // Unix seconds
	Accounts []string          // public account keys; there may be none
	Hash     [sha256.Size]byte // of the whole JWT
}

// maxDeleted is the most accounts in one order. nsc sends one order for each account that is to go.
const maxDeleted = 100_000

// CheckDeletion reads an order and reports whether one of the operators signed it. The caller finds
// out whether the accounts exist, and whether the order is obsolete. With an error the order holds
// what could be read. Whether one may delete at all is decided by the policy of package accounts.
func (all Operators) CheckDeletion(token []byte) (Deletion, error) {
	claims, err := decodeGeneric(token)
	if err != nil {
		return Deletion{}, err
	}
	d := Deletion{
		Issuer:   claims.Issuer,
		IssuedAt: claims.IssuedAt,
		Hash:     sha256.Sum256(token),
	}
	// The texts are short because they are the reason in the answer.
	switch {
	case claims.Subject != claims.Issuer:
		return d, errors.New("not self signed")
	case all.RequireSigningKey(claims.Issuer):
		return d, all.checkIssuer(claims.Issuer)
	case !all.Trusts(claims.Issuer):
		return d, errors.New("not trusted")
	}
	var found jwt.ValidationResults
	if claims.Validate(&found); found.IsBlocking(true) {
		return d, errors.New(found.Issues[0].Description)
	}
	list, isList := claims.Data["accounts"].([]any)
	if !isList || len(list) > maxDeleted {
		return d, errors.New("malformed request")
	}
	for _, item := range list {
		key, _ := item.(string)
		if !IsAccountKey(key) {
			shown := fmt.Sprint(item)
			return d, fmt.Errorf("malformed request: %.64q is not a public account key", shown)
		}
		d.Accounts = append(d.Accounts, key)
	}
	return d, nil
}

// decodeGeneric decodes claims of no particular kind, whichever key has signed them. The library
// panics at a version 1 JWT with a type and without data: it writes the type into the data.
func decodeGeneric(token []byte) (*jwt.GenericClaims, error) {
	var body struct {
		Data map[string]json.RawMessage `json:"nats"`
	}
	token = bytes.TrimSpace(token)
	text, _, err := Payload(token)
	switch {
	case err != nil:
		return nil, err
	case json.Unmarshal(text, &body) == nil && body.Data == nil:
		return nil, errors.New("malformed request")
	}
	return jwt.DecodeGeneric(string(token)) // which fails for what is no JSON, too
}
