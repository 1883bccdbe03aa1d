package trust

import (
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// secretFields names the claims of an operator that hold a password. nsc copies them from a URL.
func secretFields(o *jwt.Operator) []string {
	var fields []string
	if hasPassword(o.AccountServerURL) {
		fields = append(fields, "account_server_url")
	}
	if slices.ContainsFunc(o.OperatorServiceURLs, hasPassword) {
		fields = append(fields, "operator_service_urls")
	}
	return fields
}

// hasPassword reports whether one of several URLs, with commas between them, holds a password.
func hasPassword(urls string) bool {
	for one := range strings.SplitSeq(urls, ",") {
		if oneHasPassword(strings.TrimSpace(one)) {
			return true
		}
	}
	return false
}

// oneHasPassword reports whether a URL holds a password. A NATS client may put a token in the place
// of the user. A text that is no URL counts as one with a password if there is an @ in it.
func oneHasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return strings.Contains(text, "@")
	}
	password, _ := u.User.Password()
	isHTTP := strings.HasPrefix(strings.ToLower(u.Scheme), "http")
	return password != "" || u.User.Username() != "" && !isHTTP
}
