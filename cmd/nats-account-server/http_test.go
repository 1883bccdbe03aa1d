package main_test

import (
	"errors"
	"net/http"
	"testing"
)

// mustPush stores an account's JWT with a POST.
func mustPush(t testing.TB, url, key string, token []byte) {
	t.Helper()
	status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+key, token)
	if status != http.StatusOK {
		t.Fatalf("the push of %s: %d %s", key, status, body)
	}
}

// wantJWT sees that the account's JWT is served.
func wantJWT(t testing.TB, url, key string, token []byte) {
	t.Helper()
	if status, body := get(t, url+"/jwt/v1/accounts/"+key); status != http.StatusOK ||
		body != string(token) {
		t.Errorf("%s is served as %d %s", key, status, body)
	}
}

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
