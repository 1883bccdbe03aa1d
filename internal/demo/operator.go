package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// operator is an operator with its keys: what nsc keeps for a real one. All keys are in memory and
// are new for each run, so nothing that the demo signs is worth anything elsewhere.
type operator struct {
	// key signs the operator's own JWT and all account JWTs.
	key nkeys.KeyPair
	// system is $SYS: nats-server refuses an operator's configuration without a system account, and
	// the account server logs in to it.
	system *account
	token  string // the operator's JWT
}

// account is an account with its key. Its key signs the JWTs of its users.
type account struct {
	name string
	key  nkeys.KeyPair
	id   string // public key
}

// newOperator makes an operator with a system account. The operator's own key signs accounts: a
// real one has signing keys for that. SystemAccount in its JWT tells nats-server which account is
// $SYS.
func newOperator() (*operator, error) {
	key, id, err := newKey(nkeys.CreateOperator)
	if err != nil {
		return nil, err
	}
	system, err := newAccount("SYS")
	if err != nil {
		return nil, err
	}
	claims := jwt.NewOperatorClaims(id)
	claims.Name, claims.SystemAccount = "demo", system.id
	token, err := claims.Encode(key)
	return &operator{key: key, system: system, token: token}, err
}

// newAccount makes an account with a key. It has no JWT yet: see operator.sign.
func newAccount(name string) (*account, error) {
	key, id, err := newKey(nkeys.CreateAccount)
	return &account{name: name, key: key, id: id}, err
}

// newKey returns a key pair and its public key. create is the function of nkeys for a kind: the
// public key of an operator begins with O, that of an account with A and that of a user with U.
func newKey(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string, error) {
	key, err := create()
	if err != nil {
		return nil, "", err
	}
	id, err := key.PublicKey()
	return key, id, err
}

// sign returns the account's JWT, issued now and signed by the operator. Users in revoked, which
// are public keys, can't connect any more. A revocation is the time until which JWTs of the user
// count as revoked: the field revocations of the account's JWT, {"U…": 1760000000}. All limits are
// those of jwt.NewAccountClaims: none.
func (o *operator) sign(a *account, revoked ...string) (string, error) {
	claims := jwt.NewAccountClaims(a.id)
	claims.Name = a.name
	for _, user := range revoked {
		claims.RevokeAt(user, time.Now())
	}
	return claims.Encode(o.key)
}

// user makes a user of the account. It returns the user's public key, and its credentials: what nsc
// writes into a creds file. A creds file has the user's JWT and the seed of the user's key, between
// lines BEGIN and END.
func (a *account) user(name string) (id string, creds []byte, err error) {
	key, id, err := newKey(nkeys.CreateUser)
	if err != nil {
		return "", nil, err
	}
	claims := jwt.NewUserClaims(id)
	claims.Name = name
	token, err := claims.Encode(a.key)
	if err != nil {
		return "", nil, err
	}
	seed, err := key.Seed()
	if err != nil {
		return "", nil, err
	}
	creds, err = jwt.FormatUserConfig(token, seed)
	return id, creds, err
}

// write writes a file that only this user can read, and returns its path.
func write(dir, name string, content []byte) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, content, 0o600)
}
