package natsconn

import (
	"net"
	"net/url"
	"strings"
)

// address is where a nats-server is.
type address struct {
	url  string
	name string // in its certificate; "" means the host in url
}

func (l *link) configured() []address {
	all := make([]address, len(l.Servers))
	for i, s := range l.Servers {
		all[i].url = s
	}
	return all
}

// relatives are the servers of the cluster that the one at a told us of. They are of its kind: what lets us in there
// lets us in here, and so does the name in the certificate where only an IP address is known.
func (a address) relatives(urls []string) []address {
	own, err := parse(a.url)
	if err != nil {
		return nil
	}
	var all []address
	for _, s := range urls {
		u, err := parse(s)
		if err != nil {
			continue
		}
		u.User = own.User
		if demandsTLS(own) {
			u.Scheme = own.Scheme
		}
		all = append(all, address{u.String(), a.nameFor(u.Hostname(), own.Hostname())})
	}
	return all
}

// nameFor is the name in the certificate of the relative at host.
func (a address) nameFor(host, own string) string {
	switch {
	case net.ParseIP(host) == nil:
		return ""
	case a.name == "" && net.ParseIP(own) == nil:
		return own
	default:
		return a.name
	}
}

func parse(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	return url.Parse(s)
}

func demandsTLS(u *url.URL) bool { return u.Scheme == "tls" || u.Scheme == "wss" }

// shown lists the servers without user names, passwords and tokens.
func shown(servers []string) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = "?"
		if u, err := parse(s); err == nil {
			u.User = nil
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}
