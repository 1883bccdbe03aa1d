package claimdiff_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
)

// checkChange sees that a change is complete, and its words are one line that can be printed.
func checkChange(t *testing.T, c claimdiff.Change) {
	t.Helper()
	if claimdiff.Effects[c.Field] == "" {
		t.Errorf("%q is no field", c.Field)
	}
	if c.Code == "" || c.Effect == "" || !strings.Contains("+-~", c.Sign) || c.Sign == "" {
		t.Errorf("something is missing: %+v", c)
	}
	checkWords(t, c.Words)
}

func checkWords(t *testing.T, words string) {
	t.Helper()
	if words == "" || !utf8.ValidString(words) || strings.TrimSpace(words) != words {
		t.Errorf("these are no words: %q", words)
	}
	for _, r := range words {
		if !unicode.IsPrint(r) {
			t.Errorf("%q has %U", words, r)
		}
	}
}

func FuzzDiff(f *testing.F) {
	full, err := json.Marshal((&filler{}).claims())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full, []byte(`{}`))
	f.Add([]byte(`{"name":"a\nb\u202ec","nats":{"exports":[null,{"subject":"\u0000"}],"imports":[null]}}`),
		full)
	f.Add([]byte(`{"exp":9223372036854775807,"nats":{"signing_keys":["A",{"kind":"user_scope","key":"B"}]}}`),
		[]byte(`{"exp":-9223372036854775808,"nats":{"limits":{"conn":-9223372036854775808}}}`))
	f.Add([]byte(`{"nats":{"mappings":{"a":[{"subject":"b"},{"subject":"b"}]},"revocations":{"*":1}}}`),
		[]byte(`{"nats":{"limits":{"tiered_limits":{"":{}}},"trace":{},"revocations":{"U":1}}}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		stored, pushed := decode(a), decode(b)
		if stored == nil || pushed == nil {
			return
		}
		for _, pair := range [][2]*jwt.AccountClaims{{stored, pushed}, {nil, pushed}, {stored, nil}} {
			for _, c := range claimdiff.Diff(pair[0], pair[1]) {
				checkChange(t, c)
			}
		}
		printed(t, stored)
		if found := claimdiff.Diff(stored, decode(a)); len(found) > 0 {
			t.Errorf("the same claims differ: %v", found)
		}
	})
}

// decode returns nil if the text is no claims.
func decode(text []byte) *jwt.AccountClaims {
	var c jwt.AccountClaims
	if json.Unmarshal(text, &c) != nil {
		return nil
	}
	return &c
}
