package trust

import (
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// secretFields names the claims of an operator that hold a password, as nsc wrote them there from a URL.
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

// hasPassword says whether a URL holds a password, or the token that NATS clients put in a user's place. What can't be
// read as a URL holds one if anything stands before an @.
func hasPassword(s string) bool {
	for one := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" {
			if strings.Contains(one, "@") {
				return true
			}
			continue
		}
		password, set := u.User.Password()
		if set && password != "" || u.User.Username() != "" && !strings.HasPrefix(strings.ToLower(u.Scheme), "http") {
			return true
		}
	}
	return false
}
