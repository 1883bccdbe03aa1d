package accounts_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// Of two versions exactly one comes after the other, whichever server asks. Each row has the later one
// second.
func TestEveryServerFindsTheSameVersionNewer(t *testing.T) {
	op, a, importer := jwttest.NewOperator(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	at := time.Unix(1_800_000_000, 0)
	issued := func(seconds int, name string) []byte {
		return jwttest.Sign(t, op.Key, a, at.Add(time.Duration(seconds)*time.Second),
			func(c *jwt.AccountClaims) { c.Name = name })
	}
	// deleted is the tombstone of a JWT. newest is when another one was issued that is barred as well; 0:
	// none is.
	deleted := func(token []byte, ordered, newest int) []byte {
		text := fmt.Sprintf(`{"deleted":%d,"by":"O","order":"x"`, at.Unix()+int64(ordered))
		if newest != 0 {
			text += fmt.Sprintf(`,"newest":%d`, at.Unix()+int64(newest))
		}
		return fmt.Appendf(nil, "%s\n%s}\n", token, text)
	}
	lesser, greater := byHash(issued(5, "one"), issued(5, "two"))
	lesserEnd, greaterEnd := byHash(deleted(lesser, 6, 0), deleted(greater, 6, 0))
	olderToken, _ := jwttest.Activation(t, a, importer, at)
	newerToken, _ := jwttest.Activation(t, a, importer, at.Add(time.Second))
	for _, row := range []struct {
		name           string
		earlier, later []byte
	}{
		{"issued later", issued(1, ""), issued(2, "")},
		{"of one second, the greater hash, also if it was replaced within that second", lesser, greater},
		{"of one second, the greater hash, with spaces around", append(lesser, " \n"...), greater},
		{"a tombstone whose order is later", issued(5, ""), deleted(issued(1, ""), 6, 0)},
		{"a tombstone whose order is of that second", issued(5, ""), deleted(issued(1, ""), 5, 0)},
		{"a JWT that was issued after the order", deleted(issued(1, ""), 4, 0), issued(5, "")},
		{"a tombstone of that JWT, although the order is earlier", issued(5, ""),
			deleted(issued(5, ""), 4, 0)},
		{"a tombstone that bars a newer one", issued(5, ""), deleted(issued(1, ""), 2, 5)},
		{"a JWT after all that the tombstone bars", deleted(issued(1, ""), 2, 5), issued(6, "")},
		{"a tombstone without its JWT", issued(5, ""), deleted([]byte("-"), 6, 0)},
		{"of two tombstones the one with the later order", deleted(issued(5, ""), 6, 0),
			deleted(issued(1, ""), 7, 0)},
		{"of two tombstones of one second, the greater hash", lesserEnd, greaterEnd},
		{"a nats-server's tombstone, made whole, against its JWT", issued(5, ""),
			accounts.WholeTombstone(issued(5, ""))},
		{"a JWT against what is none", []byte("junk"), issued(1, "")},
		{"an activation token that was issued later", olderToken, newerToken},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !accounts.Wins(row.later, row.earlier) {
				t.Error("it does not win")
			}
			if accounts.Wins(row.earlier, row.later) {
				t.Error("the other one wins")
			}
			if accounts.Wins(row.later, bytes.Clone(row.later)) {
				t.Error("it wins against itself")
			}
		})
	}
}

// byHash returns two texts in the order of their hashes.
func byHash(a, b []byte) (lesser, greater []byte) {
	hashA, hashB := sha256.Sum256(bytes.TrimSpace(a)), sha256.Sum256(bytes.TrimSpace(b))
	if bytes.Compare(hashA[:], hashB[:]) > 0 {
		return b, a
	}
	return a, b
}
