package daemon_test

import (
	"crypto/x509"
	"reflect"
	"testing"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
)

func TestAccessPolicy(t *testing.T) {
	roots := x509.NewCertPool()
	ops, nats := config.Login{User: "ops", Hash: "h1"}, config.Login{User: "nats", Hash: "h2"}
	deploy, n1 := config.Login{Certificate: "deploy"}, config.Login{Certificate: "n1"}
	writer := auth.User{Name: "ops", Hash: "h1", Role: auth.Writer}
	reader := auth.User{Name: "nats", Hash: "h2", Role: auth.Reader}
	none := map[string]auth.Role{}
	for _, c := range []struct {
		name        string
		write, read []config.Login
		roots       *x509.CertPool
		want        *auth.Policy
	}{
		{"nothing is configured", nil, nil, nil, nil},
		{"a certificate is needed", nil, nil, roots,
			&auth.Policy{Roots: roots, OtherCertificates: auth.Writer}},
		{"writing takes a password", []config.Login{ops}, nil, nil, &auth.Policy{
			Users: []auth.User{writer}, WithoutCredentials: auth.Anonymous,
			Certificates: none, OtherCertificates: auth.Reader,
		}},
		{"reading does, too", []config.Login{ops}, []config.Login{nats}, nil, &auth.Policy{
			Users: []auth.User{reader, writer}, Certificates: none, OtherCertificates: auth.Reader,
		}},
		{"no one may write", []config.Login{}, nil, nil, &auth.Policy{
			WithoutCredentials: auth.Anonymous, Certificates: none, OtherCertificates: auth.Reader,
		}},
		{"every certificate reads, one writes", []config.Login{ops, deploy},
			[]config.Login{nats}, roots,
			&auth.Policy{
				Users: []auth.User{reader, writer}, Roots: roots,
				Certificates:      map[string]auth.Role{"deploy": auth.Writer},
				OtherCertificates: auth.Reader,
			}},
		{"readers are named", []config.Login{deploy}, []config.Login{n1, deploy},
			roots, &auth.Policy{
				Roots: roots, OtherCertificates: auth.Unauthenticated,
				Certificates: map[string]auth.Role{"n1": auth.Reader, "deploy": auth.Writer},
			}},
		{"reading takes a certificate or a password", []config.Login{ops}, nil, roots, &auth.Policy{
			Users: []auth.User{writer}, Roots: roots, Certificates: none,
			OtherCertificates: auth.Reader,
		}},
	} {
		got := daemon.AccessPolicy(config.HTTP{Write: c.write, Read: c.read}, c.roots)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
