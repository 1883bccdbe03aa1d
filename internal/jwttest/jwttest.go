// Package jwttest makes operators, accounts and users for tests, with any issue time and any flaw.
package jwttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// Operator is an operator with one signing key and a system account.
type Operator struct {
	Key, Signing nkeys.KeyPair
	ID           string // public key
	System       *Account
	Claims       *jwt.OperatorClaims
	made         int64
}

// Account is an account's key pair.
type Account struct {
	Key nkeys.KeyPair
	ID  string // public key
}

// NewOperator makes an operator; edits change its claims before they are signed.
func NewOperator(t testing.TB, edits ...func(*jwt.OperatorClaims)) *Operator {
	t.Helper()
	key, err := nkeys.CreateOperator()
	check(t, err)
	signing, err := nkeys.CreateOperator()
	check(t, err)
	o := &Operator{Key: key, Signing: signing, ID: public(t, key), System: NewAccount(t),
		made: time.Now().Unix()}
	o.Claims = jwt.NewOperatorClaims(o.ID)
	o.Claims.Name = "OP"
	o.Claims.SigningKeys.Add(public(t, signing))
	o.Claims.SystemAccount = o.System.ID
	for _, edit := range edits {
		edit(o.Claims)
	}
	return o
}

// Token is the operator's JWT, the same one as long as its claims are.
func (o *Operator) Token(t testing.TB) string {
	t.Helper()
	c := *o.Claims
	c.Type, c.Version = jwt.OperatorClaim, 2
	c.Issuer, c.IssuedAt = o.ID, o.made
	claims, err := json.Marshal(&c)
	check(t, err)
	c.ID = identify(claims)
	return string(Encode(t, o.Key, &c))
}

// NewAccount makes an account key.
func NewAccount(t testing.TB) *Account {
	t.Helper()
	key, err := nkeys.CreateAccount()
	check(t, err)
	return &Account{Key: key, ID: public(t, key)}
}

var keys atomic.Uint64

// AccountKey returns a new public account key without a private key, which takes a hundred times as
// long to make. The keys of a run are always the same.
func AccountKey(t testing.TB) string {
	t.Helper()
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, keys.Add(1)))
	key, err := nkeys.Encode(nkeys.PrefixByteAccount, sum[:])
	check(t, err)
	return string(key)
}

// Account is a JWT of the account, issued now and signed with the operator's signing key.
func (o *Operator) Account(t testing.TB, a *Account, edits ...func(*jwt.AccountClaims)) []byte {
	t.Helper()
	return Sign(t, o.Signing, a, time.Now(), edits...)
}

// SystemAccount is the system account's JWT, with the exports that nsc gives it left out.
func (o *Operator) SystemAccount(t testing.TB) []byte {
	t.Helper()
	return o.Account(t, o.System, func(c *jwt.AccountClaims) { c.Name = "SYS" })
}

// Sign makes a version 2 account JWT issued by signer at iat.
func Sign(t testing.TB, signer nkeys.KeyPair, a *Account, iat time.Time,
	edits ...func(*jwt.AccountClaims)) []byte {
	t.Helper()
	c := jwt.NewAccountClaims(a.ID)
	c.Name = "acc"
	c.Type, c.Version = jwt.AccountClaim, 2
	for _, edit := range edits {
		edit(c)
	}
	c.Issuer, c.IssuedAt = public(t, signer), iat.Unix()
	c.ID = identify([]byte(c.Subject + c.Issuer + iat.String()))
	return Encode(t, signer, c)
}

// identify makes a jti.
func identify(what []byte) string {
	sum := sha256.Sum256(what)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
}

// Activation is a token with which exporter, or another signer in its name, lets importer in,
// issued at iat, and its hash.
func Activation(t testing.TB, exporter, importer *Account, iat time.Time,
	edits ...func(*jwt.ActivationClaims)) (token []byte, hash string) {
	t.Helper()
	return ActivationBy(t, exporter.Key, importer, iat, edits...)
}

// ActivationBy is Activation with any signer.
func ActivationBy(t testing.TB, signer nkeys.KeyPair, importer *Account, iat time.Time,
	edits ...func(*jwt.ActivationClaims)) (token []byte, hash string) {
	t.Helper()
	c := jwt.NewActivationClaims(importer.ID)
	c.Name, c.ImportSubject, c.ImportType = "act", "foo.>", jwt.Stream
	for _, edit := range edits {
		edit(c)
	}
	c.Issuer, c.IssuedAt, c.Type, c.Version = public(t, signer), iat.Unix(), jwt.ActivationClaim, 2
	c.ID = identify([]byte(c.Subject + c.Issuer + iat.String()))
	hash, err := c.HashID()
	check(t, err)
	return Encode(t, signer, c), hash
}

// Encode signs any claims as a version 2 JWT, exactly as they are.
func Encode(t testing.TB, signer nkeys.KeyPair, claims any) []byte {
	t.Helper()
	payload, err := json.Marshal(claims)
	check(t, err)
	return EncodeRaw(t, signer, `{"typ":"JWT","alg":"ed25519-nkey"}`, payload, true)
}

// EncodeRaw signs a header and a payload; version 1 JWTs have a signature over the payload only.
func EncodeRaw(
	t testing.TB, signer nkeys.KeyPair, header string, payload []byte, signHeader bool,
) []byte {
	t.Helper()
	enc := base64.RawURLEncoding
	h, p := enc.EncodeToString([]byte(header)), enc.EncodeToString(payload)
	signed := p
	if signHeader {
		signed = h + "." + p
	}
	sig, err := signer.Sign([]byte(signed))
	check(t, err)
	return []byte(h + "." + p + "." + enc.EncodeToString(sig))
}

// NewUser makes a user key.
func NewUser(t testing.TB) (key nkeys.KeyPair, id string) {
	t.Helper()
	key, err := nkeys.CreateUser()
	check(t, err)
	return key, public(t, key)
}

// User makes a user of the account and returns the content of its creds file and its public key.
func (a *Account) User(t testing.TB, edits ...func(*jwt.UserClaims)) (creds []byte, id string) {
	t.Helper()
	key, id := NewUser(t)
	c := jwt.NewUserClaims(id)
	c.Name = "user"
	for _, edit := range edits {
		edit(c)
	}
	token, err := c.Encode(a.Key)
	check(t, err)
	seed, err := key.Seed()
	check(t, err)
	creds, err = jwt.FormatUserConfig(token, seed)
	check(t, err)
	return creds, id
}

// File writes content into dir and returns its path.
func File(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	check(t, os.WriteFile(path, content, 0o600))
	return path
}

// Flip changes one character of a JWT's signature.
func Flip(token []byte) []byte {
	bad := bytes.Clone(token)
	i := bytes.LastIndexByte(bad, '.') + 5
	if bad[i]++; bad[i] > 'Z' || bad[i] < 'B' {
		bad[i] = 'A'
	}
	return bad
}

func public(t testing.TB, key nkeys.KeyPair) string {
	t.Helper()
	p, err := key.PublicKey()
	check(t, err)
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
