package natsconn

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
)

// hint returns the probable cause of a failed connection and what to do about it. It is empty if
// the error is clear by itself. It only reads files and never changes what happens next. err is
// that of the last attempt.
func (l *link) hint(err error) string {
	// nats.go has no error value for some of nats-server's refusals.
	text := strings.ToLower(err.Error())
	isRefused := errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked) ||
		strings.Contains(text, "authorization") || strings.Contains(text, "authentication")
	switch {
	case !isRefused:
		// What is no refusal of the user may be a problem with TLS.
		return l.hintTLS(err)
	case l.Credentials == "":
		return "nats-server wants credentials: set nats.usercredentials to those of a user of " +
			"the system account"
	}
	return cmp.Or(l.hintSigningKey(), fmt.Sprintf("nats-server refused the credentials in %s: "+
		"their user must belong to the system account, and be neither expired nor revoked; if the "+
		"operator requires signing keys, one of that account must have signed the user; and the "+
		"operator that nats-server trusts must have signed the account", l.Credentials))
}

// hintSigningKey explains the refusal of a user whose JWT a signing key of the account has signed.
// It is empty for other users. A nats-server without the present JWT of the system account does not
// know the key, and can't be told it as long as it refuses the user. The operator sees only
// "Authorization Violation", on both sides. IssuerAccount is empty in a JWT that the account's own
// key has signed.
func (l *link) hintSigningKey() string {
	// The file may have changed since the attempt. If it can't be read, the general hint is given.
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
		"signing key of the account %s. A nats-server without that account's JWT, or with one "+
		"from before the key, does not know the key: if it fetches accounts from here, push the "+
		"JWT and restart it; if it stores them, give it the JWT (resolver_preload); or use a "+
		"user that the account's own key has signed. Otherwise the user must belong to the "+
		"system account, and be neither expired nor revoked", user.Subject, l.Credentials,
		user.Issuer, user.IssuerAccount)
}

// explain is hint in the words of the section that configures the connection. Hints name keys of
// the section nats, which are the same in store.kv.
func (l *link) explain(err error) string {
	hint := l.hint(err)
	switch {
	case !l.Bucket:
		return hint
	case strings.Contains(hint, "system account"):
		return "the nats-servers of the bucket refuse the user: set store.kv.usercredentials, " +
			"or the user in the URLs of store.kv.servers, to a user of the account that has the bucket, " +
			"which is not the system account"
	}
	return strings.ReplaceAll(hint, "nats.", "store.kv.")
}

// hintTLS is hint for errors of TLS. What it says depends on l.used, the TLS configuration of the
// last attempt. The files may be other ones now, since they are read anew for each attempt.
//
// What this side refuses comes before what nats-server refuses.
func (l *link) hintTLS(err error) string {
	return cmp.Or(l.hintServerCertificate(err), l.hintHandshake(err), l.hintClientCertificate(err))
}

// hintServerCertificate explains why this side refuses the certificate of nats-server.
func (l *link) hintServerCertificate(err error) string {
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	// Without nats.tls.root, the authorities of the system count.
	case is[x509.UnknownAuthorityError](err) && l.used.RootCAs == nil:
		return "the certificate of nats-server is signed by no authority that this system " +
			"trusts: set nats.tls.root to the certificate of its authority"
	case is[x509.UnknownAuthorityError](err):
		return "the certificate of nats-server is signed by none of the " +
			"authorities in nats.tls.root"
	case is[x509.HostnameError](err):
		return "the certificate of nats-server is not for the host that nats.servers names: use " +
			"a name that it has"
	// It may also be that the certificate is not valid yet.
	case isInvalid && invalid.Reason == x509.Expired:
		return "the certificate of nats-server, or its authority's, is out of date: renew it, " +
			"or set the clock"
	}
	return ""
}

// hintHandshake explains an attempt in which only one side has begun with TLS.
func (l *link) hintHandshake(err error) string {
	switch {
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "nats-server offers no TLS, but nats.tls or a tls:// URL in nats.servers asks for it"
	// nats-server has sent its INFO first, which is no TLS record.
	case is[tls.RecordHeaderError](err) && l.HandshakeFirst &&
		!slices.ContainsFunc(l.Servers, isWebsocket):
		return "nats-server does not begin with TLS: nats.tls.handshake_first must be false"
	case is[tls.RecordHeaderError](err):
		return "nats-server does not answer with TLS: for a websocket without TLS, write ws:// " +
			"in nats.servers"
	case strings.Contains(err.Error(), "invalid websocket connection"):
		return "nats-server does not answer as a websocket without TLS: if its websocket " +
			"section has tls, write wss:// in nats.servers"
	// Both sides wait for the other one then: this one for INFO, and nats-server for TLS.
	case isReadTimeout(err) && l.secure && !l.HandshakeFirst:
		return "nats-server sends nothing: if it has handshake_first in its tls section, set " +
			"nats.tls.handshake_first too"
	}
	return ""
}

// hintClientCertificate explains why nats-server refuses the certificate of this side.
func (l *link) hintClientCertificate(err error) string {
	text := err.Error()
	isAlert := strings.HasPrefix(text, "remote error: tls:") &&
		strings.Contains(text, "certificate")
	switch {
	// nats-server closes the connection after its alert, which can be lost then.
	case !isAlert && !strings.Contains(text, "closed by remote after TLS handshake"):
		return ""
	case len(l.used.Certificates) == 0:
		return "nats-server wants a client certificate: set nats.tls.cert and nats.tls.key"
	default:
		return "nats-server refuses the certificate in nats.tls.cert: it must be signed by an " +
			"authority that nats-server trusts, and not be out of date"
	}
}

// is reports whether an error of type E is in the chain of err. It is for errors that are types and
// not values.
func is[E error](err error) bool {
	_, found := errors.AsType[E](err)
	return found
}

// isReadTimeout reports whether nats-server has not sent its INFO in time. It waits for the
// client's first message if its own handshake_first is set.
func isReadTimeout(err error) bool {
	op, isOp := errors.AsType[*net.OpError](err)
	return isOp && op.Op == "read" && op.Timeout()
}
