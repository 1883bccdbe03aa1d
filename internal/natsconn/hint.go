package natsconn

import (
	"cmp"
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

// hint returns the probable cause of a failed connection and what to do about it. It is empty if
// the error is clear by itself.
func (l *link) hint(err error) string {
	if hint := l.hintTLS(err); hint != "" {
		return hint
	}
	text := strings.ToLower(err.Error())
	refused := errors.Is(err, nats.ErrAuthorization) || strings.Contains(text, "authorization") ||
		strings.Contains(text, "authentication") || errors.Is(err, nats.ErrAuthRevoked)
	switch {
	case !refused:
		return ""
	case l.Credentials == "":
		return "nats-server wants credentials: set nats.usercredentials to those of a user of " +
			"the system account"
	}
	return cmp.Or(l.hintSigningKey(),
		fmt.Sprintf("nats-server refused the credentials in %s: their user must "+
			"belong to the system account, be neither expired nor revoked, and that account must be "+
			"signed by the "+
			"operator that nats-server trusts", l.Credentials))
}

// hintSigningKey explains the refusal of a user whose JWT a signing key of the account has signed.
// It is empty for other users. A nats-server without the JWT of the system account knows only the
// account's own key.
func (l *link) hintSigningKey() string {
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
	return fmt.Sprintf("nats-server refused the user %s in %s: its JWT was signed by %s, a "+
		"signing key of the "+
		"account %s. A nats-server that stores accounts and does not have that account's JWT yet "+
		"knows only the "+
		"account's own key: give it the JWT (resolver_preload), or use a user that the account's "+
		"own key has "+
		"signed. Otherwise the user must belong to the system account, be neither expired nor revoked",
		user.Subject, l.Credentials, user.Issuer, user.IssuerAccount)
}

// hintTLS is hint for errors of TLS.
func (l *link) hintTLS(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		text      = err.Error()
	)
	switch {
	case errors.As(err, &authority) && l.used.RootCAs == nil:
		return "the certificate of nats-server is signed by no authority that this system trusts: " +
			"set nats.tls.root to the certificate of its authority"
	case errors.As(err, &authority):
		return "the certificate of nats-server is signed by none of the authorities in nats.tls.root"
	case errors.As(err, &host):
		return "the certificate of nats-server is not for the host that nats.servers names: use " +
			"a name that it has"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of nats-server, or its authority's, is out of date: renew it, or " +
			"set the clock"
	case strings.HasPrefix(text, "remote error: tls:") && strings.Contains(text, "certificate"),
		// The alert of nats-server can be lost.
		strings.Contains(text, "closed by remote after TLS handshake"):
		return l.hintClientCertificate()
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "nats-server offers no TLS, but nats.tls or a tls:// URL in nats.servers asks for it"
	case errors.As(err, &record) && l.HandshakeFirst:
		return "nats-server does not begin with TLS: nats.tls.handshake_first must be false"
	case isReadTimeout(err) && l.demandsTLS() && !l.HandshakeFirst:
		return "nats-server sends nothing: if it has handshake_first in its tls section, " +
			"set nats.tls.handshake_first too"
	}
	return ""
}

// hintClientCertificate explains why nats-server ends a TLS handshake.
func (l *link) hintClientCertificate() string {
	if len(l.used.Certificates) == 0 {
		return "nats-server wants a client certificate: set nats.tls.cert and nats.tls.key"
	}
	return "nats-server refuses the certificate in nats.tls.cert: it must be signed by an " +
		"authority that " +
		"nats-server trusts, and not be out of date"
}

// isReadTimeout reports whether nats-server has not sent its INFO in time.
func isReadTimeout(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "read" && op.Timeout()
}
