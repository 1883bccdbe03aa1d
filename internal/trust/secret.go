package trust

import (
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// secretFields names the claims of an operator that hold a password, by their JSON names. nsc
// writes the URLs that it is given into the JWT, as they are. It returns nil if there are none. The
// names are for the line that warns: values are never shown.
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

// hasPassword reports whether one of several URLs, with commas between them, holds a password. A
// NATS client may put a token in the place of the user. A text that is no URL counts as one with a
// password if there is an @ in it.
func hasPassword(urls string) bool {
	return slices.ContainsFunc(strings.Split(urls, ","), func(text string) bool {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" {
			return strings.Contains(text, "@")
		}
		password, _ := u.User.Password()
		isHTTP := u.Scheme == "http" || u.Scheme == "https" // url.Parse gives small letters
		return password != "" || u.User.Username() != "" && !isHTTP
	})
}
