package notifier

import (
	"slices"
	"strings"
)

// User is the user of a connection.
type User struct {
	Account string   // to which it belongs; "" if that is not known
	Systems []string // the system accounts, one for each operator that is known to have one
}

// systems names the system accounts.
func (u User) systems() string { return strings.Join(u.Systems, " or ") }

// String adds to a line of the log what is known of the accounts.
func (u User) String() (text string) {
	if u.Account != "" {
		text += "; the user belongs to the account " + u.Account
	}
	if len(u.Systems) > 0 {
		text += "; the system account is " + u.systems()
	}
	return text
}

// isWrongAccount reports whether no nats-server answers, and why is known.
func (v *servers) isWrongAccount() bool {
	return !v.discovering && len(v.byName) == 0 && v.user.Account != "" &&
		len(v.user.Systems) > 0 && !slices.Contains(v.user.Systems, v.user.Account)
}
