package facts

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// pageSize is how many connections a nats-server is asked for at once. With the JWTs of their users
	// that is a megabyte or two.
	pageSize = 512
	// maxConnections bounds the connections of one nats-server that are kept, some 200 bytes each.
	maxConnections = 100_000
	// maxText bounds the texts of a connection that are kept, in bytes.
	maxText = 128
)

// Connection is a client or leaf node of an account, as far as it is to be known. The JWT of its user is
// not kept.
type Connection struct {
	Server Server
	ID     uint64 // on that nats-server
	Start  time.Time
	IsLeaf bool
	User   string // public key, or what else it has logged in as
	// Issuer is the key of the account that has signed the user's JWT. It is the account itself if the JWT
	// does not say that it is another one.
	Issuer        string
	Subscriptions int

	// IsHidden says that nats-server does not show the JWT of the user. That is so if it is a bearer token,
	// or if there is none: a service has authorized the user. What follows is there if it is shown.
	IsHidden bool

	IssuedAt         int64 // Unix seconds
	MaxSubscriptions int64 // -1: unlimited
	HasPermissions   bool  // of its own
}

// IsBearer reports whether the user has a bearer token.
func (c Connection) IsBearer() bool { return c.IsHidden && isUserKey(c.User) }

// isUserKey reports whether a text looks like the public key of a user.
func isUserKey(text string) bool { return len(text) == 56 && text[0] == 'U' }

// Connections is the clients and leaf nodes of an account at one nats-server.
type Connections struct {
	Server Server
	Reason string // why they are not known; "": they are
	All    []Connection
}

// Connections asks nats-servers for the clients of an account. One that has not loaded it loads it for
// that, so only those should be asked which have.
func (a *Asker) Connections(ctx context.Context, key string, of []Server) []Connections {
	all := make([]Connections, len(of))
	var asking sync.WaitGroup
	for i, s := range of {
		asking.Go(func() { all[i] = a.connectionsOf(ctx, key, s) })
	}
	asking.Wait()
	return all
}

// connectionsOf asks one nats-server, page by page. A connection that ends or comes between two pages may
// be missed.
func (a *Asker) connectionsOf(ctx context.Context, key string, s Server) Connections {
	all := Connections{Server: s}
	seen := make(map[uint64]bool)
	for offset := 0; ; offset += pageSize {
		page, reason := a.page(ctx, key, s, offset)
		if reason != "" {
			return Connections{Server: s, Reason: reason}
		}
		for _, c := range page.Conns.kept {
			if c.Server = s; !seen[c.ID] {
				seen[c.ID] = true
				all.All = append(all.All, c)
			}
		}
		switch {
		case offset >= maxConnections:
			return Connections{Server: s, Reason: "it has too many connections to be looked at one by one"}
		case len(page.Conns.kept) < pageSize || len(all.All) >= page.Total:
			return all
		}
	}
}

// page is the data of an answer to CONNZ.
type page struct {
	Total int         `json:"total"`
	Conns connections `json:"connections"`
}

// page asks for the connections from an offset on.
func (a *Asker) page(ctx context.Context, key string, s Server, offset int) (p page, reason string) {
	payload := fmt.Appendf(nil, `{"acc":%q,"auth":true,"sort":"cid","limit":%d,"offset":%d}`,
		key, pageSize, offset)
	take := func(_ Server, read answer) string {
		if state, why := read.state(); state != Loaded {
			return why
		}
		if err := json.Unmarshal(read.Data, &p); err != nil {
			return "its answer can't be read: " + fault(err)
		}
		return ""
	}
	a.gather(ctx, RequestConnections, "$SYS.REQ.SERVER."+s.ID+".CONNZ", payload, []Server{s}, take,
		func(_ Server, why string) { reason = why })
	return p, reason
}

// connections is a list of at most pageSize connections.
type connections struct{ kept []Connection }

// errTooMany is returned for a page that has more connections than were asked for.
var errTooMany = errors.New("there are more connections than were asked for")

// UnmarshalJSON reads the list one by one.
func (l *connections) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		var c connection
		if err := d.Decode(&c); err != nil {
			return err
		}
		if len(l.kept) == pageSize {
			return errTooMany
		}
		l.kept = append(l.kept, c.read())
		return nil
	})
}

// connection is one connection in an answer to CONNZ.
type connection struct {
	ID            uint64    `json:"cid"`
	Kind          string    `json:"kind"`
	Start         time.Time `json:"start"`
	User          string    `json:"authorized_user"`
	Issuer        string    `json:"issuer_key"`
	Subscriptions uint32    `json:"subscriptions"`
	JWT           string    `json:"jwt"`
}

// read returns what is kept of the connection.
func (c connection) read() Connection {
	kept := Connection{
		ID: c.ID, Start: c.Start, IsLeaf: c.Kind == "Leafnode",
		User: cut(c.User), Issuer: cut(c.Issuer), Subscriptions: int(c.Subscriptions),
	}
	u, err := readUser(c.JWT)
	if kept.IsHidden = err != nil; kept.IsHidden {
		return kept
	}
	kept.IssuedAt, kept.MaxSubscriptions = u.IssuedAt, u.NATS.Subs
	kept.HasPermissions = !u.NATS.Pub.isEmpty() || !u.NATS.Sub.isEmpty() || u.NATS.Resp != nil
	return kept
}

// cut returns the beginning of a text. It shares no memory with an answer.
func cut(text string) string { return strings.Clone(text[:min(len(text), maxText)]) }

// user is the claims of a user, as far as they are read.
type user struct {
	IssuedAt int64 `json:"iat"`
	NATS     struct {
		Subs int64       `json:"subs"`
		Pub  permission  `json:"pub"`
		Sub  permission  `json:"sub"`
		Resp *permission `json:"resp"`
	} `json:"nats"`
}

// permission says only whether there is one.
type permission struct {
	Allow list `json:"allow"`
	Deny  list `json:"deny"`
}

// list is the length of a list.
type list int

// UnmarshalJSON counts the elements.
func (l *list) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		*l++
		return d.Decode(new(json.RawMessage))
	})
}

// isEmpty reports whether the permission allows everything.
func (p permission) isEmpty() bool { return p.Allow == 0 && p.Deny == 0 }

// readUser reads a user's JWT. nats-server has verified it.
func readUser(token string) (u user, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return u, errors.New("not a JWT")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(claims, &u)
	}
	return u, err
}
