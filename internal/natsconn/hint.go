package natsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
)

// likely says what an operator should look at when a connection fails, "" if the error says it all.
func (l *link) likely(err error) string {
	if hint := l.likelyTLS(err); hint != "" {
		return hint
	}
	text := strings.ToLower(err.Error())
	refused := errors.Is(err, nats.ErrAuthorization) || strings.Contains(text, "authorization") ||
		strings.Contains(text, "authentication") || errors.Is(err, nats.ErrAuthRevoked)
	switch {
	case !refused:
		return ""
	case l.Credentials == "":
		return "nats-server wants credentials: set nats.usercredentials to those of a user of the system account"
	case l.bySigningKey() != "":
		return l.bySigningKey()
	default:
		return fmt.Sprintf("nats-server refused the credentials in %s: their user must belong to the system account, "+
			"be neither expired nor revoked, and that account must be signed by the operator that nats-server trusts", l.Credentials)
	}
}

// bySigningKey explains the refusal of a user whose JWT a signing key of the account has signed, "" for any other. A
// nats-server that has no JWT of the system account yet, since nobody has given it one, makes do with the account's key.
func (l *link) bySigningKey() string {
	content, err := os.ReadFile(l.Credentials)
	if err != nil {
		return ""
	}
	token, err := jwt.ParseDecoratedJWT(content)
	if err != nil {
		return ""
	}
	user, err := jwt.DecodeUserClaims(token)
	if err != nil || user.IssuerAccount == "" || user.IssuerAccount == user.Issuer {
		return ""
	}
	return fmt.Sprintf("nats-server refused the user %s in %s: its JWT was signed by %s, a signing key of the account %s. A nats-server "+
		"that keeps accounts and has not got that account's JWT yet knows only the account's own key: give it the JWT "+
		"(resolver_preload), or us a user that the account's own key has signed. Else the user must belong to the system account, "+
		"be neither expired nor revoked", user.Subject, l.Credentials, user.Issuer, user.IssuerAccount)
}

// likelyTLS is likely for what goes wrong with TLS.
func (l *link) likelyTLS(err error) string {
	var (
		stranger x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		text     = err.Error()
	)
	switch {
	case errors.As(err, &stranger) && l.used.RootCAs == nil:
		return "the certificate of nats-server comes from nobody that this system trusts: set nats.tls.root to the certificate of its authority"
	case errors.As(err, &stranger):
		return "the certificate of nats-server comes from none of the authorities in nats.tls.root"
	case errors.As(err, &host):
		return "the certificate of nats-server is not for the host that nats.servers names: use a name that it has"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of nats-server, or its authority's, is out of date: renew it, or set the clock"
	case strings.HasPrefix(text, "remote error: tls:") && strings.Contains(text, "certificate"),
		strings.Contains(text, "closed by remote after TLS handshake"): // the alert can be lost
		return l.unwelcome()
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "nats-server offers no TLS, but nats.tls or a tls:// URL in nats.servers asks for it"
	case errors.As(err, &record) && l.HandshakeFirst:
		return "nats-server does not begin with TLS: nats.tls.handshake_first must be false"
	case isSilence(err) && l.demanded() && !l.HandshakeFirst:
		return "nats-server says nothing: if it has handshake_first in its tls section, set nats.tls.handshake_first too"
	}
	return ""
}

// unwelcome explains why nats-server ends a handshake that went well for us.
func (l *link) unwelcome() string {
	if len(l.used.Certificates) == 0 {
		return "nats-server wants a client certificate: set nats.tls.cert and nats.tls.key"
	}
	return "nats-server refuses the certificate in nats.tls.cert: it must come from an authority that nats-server trusts, and not be out of date"
}

// isSilence says that we waited in vain for nats-server's first words.
func isSilence(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "read" && op.Timeout()
}
