package trust_test

import (
	"slices"
	"testing"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func TestWhichFieldsHoldAPassword(t *testing.T) {
	for _, c := range []struct {
		url    string
		secret bool
	}{
		{"", false},
		{"http://localhost:9090/jwt/v1", false},
		{"https://ops@example.com/jwt/v1", false},
		{"https://ops:@example.com/jwt/v1", false},
		{"https://ops:hush@example.com/jwt/v1", true},
		{"https://:hush@example.com/jwt/v1", true},
		{"HTTPS://ops:hu%40sh@example.com", true},
		{"https://example.com/a@b", false},
		{"https://example.com/a:b@c", false},
		{"nats://localhost:4222", false},
		{"nats://token@localhost:4222", true},
		{"tls://u:hush@localhost:4222", true},
		{"nats://a:4222,nats://u:hush@b:4222", true},
		{"u:hush@localhost:4222", true},
		{"localhost:4222", false},
		{"//u:hush@localhost", true},
		{"https://ops:hu%sh@example.com", true},
		{"https://ops:hush@exa mple.com", true},
	} {
		for field, set := range map[string]func(*jwt.OperatorClaims){
			"account_server_url": func(o *jwt.OperatorClaims) { o.AccountServerURL = c.url },
			"operator_service_urls": func(o *jwt.OperatorClaims) {
				o.OperatorServiceURLs = jwt.StringList{"nats://x", c.url}
			},
		} {
			made := jwttest.NewOperator(t, set)
			made.Claims.Issuer, made.Claims.Type, made.Claims.Version = made.ID,
				jwt.OperatorClaim, 2
			// The claims are encoded by hand, as the library refuses some of the URLs.
			o, err := trust.Parse(jwttest.Encode(t, made.Key, made.Claims))
			if err != nil {
				t.Fatal(err)
			}
			found := slices.Equal(o.SecretFields, []string{field})
			if found != c.secret || !found && o.SecretFields != nil {
				t.Errorf("%s as %s: %v", c.url, field, o.SecretFields)
			}
		}
	}
}
