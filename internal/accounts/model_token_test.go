package accounts_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// modelEpoch is when the seconds of the model begin. The jwt package looks at the real clock: what
// is issued or expires in the model must be in its future.
var modelEpoch = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// The keys that sign in the model, by letter. They are the same in every process, so that hashes
// compare the same way in a replay.
//
//	o       the operator's own key
//	s, t    its signing keys
//	x       another operator's
//
// The accounts are A and B, and S, which is the system account.
const (
	modelSigners  = "ostx"
	modelAccounts = "ABS"
)

// modelVersion is one JWT of an account. Its name is account, second, variant and signer.
//
//	A3b/s     the variant b of second 3, signed with s
//
// The variant c expires after half an hour.
type modelVersion struct {
	name    string
	account string // its letter
	signer  byte   // its letter
	issued  int64  // Unix seconds
	expires int64  // Unix seconds; 0: never
	token   []byte
	hash    [sha256.Size]byte
}

// modelTokens makes versions, orders and operators by name, each once. Sequences that run at the
// same time share it.
type modelTokens struct {
	signers  map[byte]nkeys.KeyPair
	accounts map[string]*jwttest.Account

	mu        sync.Mutex
	versions  map[string]*modelVersion
	byToken   map[string]*modelVersion
	orders    map[string][]byte
	operators map[string]*trust.Operator
}

func newModelTokens(t *testing.T) *modelTokens {
	t.Helper()
	m := &modelTokens{
		signers:   map[byte]nkeys.KeyPair{},
		accounts:  map[string]*jwttest.Account{},
		versions:  map[string]*modelVersion{},
		byToken:   map[string]*modelVersion{},
		orders:    map[string][]byte{},
		operators: map[string]*trust.Operator{},
	}
	for i := range len(modelSigners) {
		m.signers[modelSigners[i]], _ = fixedKey(t, nkeys.PrefixByteOperator, modelSigners[i])
	}
	for i := range len(modelAccounts) {
		pair, id := fixedKey(t, nkeys.PrefixByteAccount, modelAccounts[i])
		m.accounts[modelAccounts[i:i+1]] = &jwttest.Account{Key: pair, ID: id}
	}
	return m
}

// fixedKey makes a key pair from a letter.
func fixedKey(t *testing.T, prefix nkeys.PrefixByte, letter byte) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := nkeys.FromRawSeed(prefix, bytes.Repeat([]byte{letter}, 32))
	if err != nil {
		t.Fatal(err)
	}
	id, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, id
}

// key is the public key of an account of the model.
func (m *modelTokens) key(account string) string { return m.accounts[account].ID }

// second is when a second of the model is. digit is its number.
func second(digit byte) time.Time { return modelEpoch.Add(time.Duration(digit-'0') * time.Second) }

// version returns a version by its name.
func (m *modelTokens) version(t *testing.T, name string) *modelVersion {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.versions[name]; v != nil {
		return v
	}
	v := &modelVersion{name: name, account: name[:1], signer: name[4],
		issued: second(name[1]).Unix()}
	if name[2] == 'c' {
		v.expires = v.issued + 1800
	}
	v.token = jwttest.Sign(t, m.signers[v.signer], m.accounts[v.account], second(name[1]),
		func(c *jwt.AccountClaims) { c.Name, c.Expires = name, v.expires })
	v.hash = sha256.Sum256(v.token)
	m.versions[name], m.byToken[string(v.token)] = v, v
	return v
}

// find returns the version with these bytes, nil if there is none.
func (m *modelTokens) find(token []byte) *modelVersion {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byToken[string(bytes.TrimSpace(token))]
}

// order returns an order to delete accounts. Its name is the accounts, second, variant and signer,
// like A6a/s or AB6a/s.
func (m *modelTokens) order(t *testing.T, name string) (order []byte, o modelOrder) {
	t.Helper()
	accounts, rest := name[:len(name)-4], name[len(name)-4:]
	o = modelOrder{name: name, accounts: accounts, signer: rest[3], issued: second(rest[0]).Unix()}
	m.mu.Lock()
	defer m.mu.Unlock()
	if order = m.orders[name]; order == nil {
		keys := []string{}
		for _, letter := range strings.Split(accounts, "") {
			keys = append(keys, m.key(letter))
		}
		signer := m.signers[o.signer]
		id, err := signer.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.NewGenericClaims(id)
		claims.Data["accounts"] = keys
		claims.Issuer, claims.IssuedAt, claims.ID = id, o.issued, name
		order = jwttest.Encode(t, signer, claims)
		m.orders[name] = order
	}
	return order, o
}

// modelOrder is what an order to delete says.
type modelOrder struct {
	name, accounts string
	signer         byte
	issued         int64
}

// trust returns what trusts these signers, with a configured system account or without. Without o
// the operator demands signing keys. x is another operator, alone or beside the first.
func (m *modelTokens) trust(t *testing.T, signers string, system *modelVersion) accounts.Trust {
	t.Helper()
	trusted := accounts.Trust{}
	first, _, isBoth := strings.Cut(signers, "x")
	if first != "" {
		trusted.Operators = append(trusted.Operators, m.operator(t, first))
	}
	if first == "" || isBoth {
		trusted.Operators = append(trusted.Operators, m.operator(t, "x"))
	}
	if system != nil {
		head, err := trust.Peek(system.token)
		if err != nil {
			t.Fatal(err)
		}
		trusted.System = accounts.NewAccount(system.token, head)
	}
	return trusted
}

func (m *modelTokens) operator(t *testing.T, signers string) *trust.Operator {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.operators[signers]; o != nil {
		return o
	}
	own := byte('o')
	if signers == "x" {
		own = 'x'
	}
	id, err := m.signers[own].PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewOperatorClaims(id)
	claims.Issuer, claims.IssuedAt = id, modelEpoch.Unix()
	claims.Type, claims.Version, claims.ID = jwt.OperatorClaim, 2, fmt.Sprint("trust ", signers)
	claims.SystemAccount = m.key("S")
	claims.StrictSigningKeyUsage = strings.IndexByte(signers, own) < 0
	for i := range len(signers) {
		if signers[i] != own {
			signing, err := m.signers[signers[i]].PublicKey()
			if err != nil {
				t.Fatal(err)
			}
			claims.SigningKeys.Add(signing)
		}
	}
	o, err := trust.Parse(jwttest.Encode(t, m.signers[own], claims))
	if err != nil {
		t.Fatal(err)
	}
	m.operators[signers] = o
	return o
}
