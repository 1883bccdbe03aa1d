package facts

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

const (
	// pageSize is how many connections a nats-server is asked for at once. With the JWTs of their
	// users that is some megabytes. A nats-server verifies the JWTs of all connections for each
	// page, which takes 0.4 s for 5,000.
	pageSize = 5000
	// maxConnections bounds the connections of one nats-server that are looked at.
	maxConnections = 25_000
	// maxText bounds the texts of a connection that are kept, in bytes.
	maxText = 128
)

// Connection is a client or leaf node of an account, as far as it is to be known. The JWT of its
// user is not kept. It is an element of "connections" in an answer to CONNZ, with auth.
type Connection struct {
	Server Server
	ID     uint64 // on that nats-server
	Start  time.Time
	IsLeaf bool
	// User has at most maxText bytes, and may be any text.
	User string // public key, or what else it has logged in as
	// Issuer is the key of the account that has signed the user's JWT. It is the account itself if
	// the JWT does not say that it is another one.
	Issuer        string
	Subscriptions int

	// IsHidden says that nats-server does not show the JWT of the user. That is so if it is a
	// bearer token, or if there is none: a service has authorized the user. What follows is there
	// if it is shown.
	IsHidden bool

	IssuedAt         int64 // Unix seconds
	MaxSubscriptions int64 // -1: unlimited
	HasPermissions   bool  // of its own
}

// IsBearer reports whether the user has a bearer token. nats-server shows no bearer token, and a
// user that a service has authorized is shown under a name that is no key. The checksum of the key
// is not looked at.
func (c Connection) IsBearer() bool {
	return c.IsHidden && len(c.User) == trust.KeyLength && c.User[0] == 'U'
}

// Connections is the clients and leaf nodes of an account at one nats-server.
type Connections struct {
	Server Server
	Reason string // why they are not known; "": they are
	All    []Connection
}

// Connections asks nats-servers for the clients of an account, or only for those of some users:
// that is cheap, however many others there are. A nats-server that has not loaded the account loads
// it for that, so only those should be asked which have.
//
// nats-servers are asked at the same time, each of them for one page after the other. With users
// there are as many requests as users. The result is in the order of the nats-servers. The ctx
// bounds all pages together.
func (a *Asker) Connections(
	ctx context.Context, key string, of []Server, users ...string,
) []Connections {
	if len(users) == 0 {
		users = []string{""}
	}
	all := make([]Connections, len(of))
	var asking sync.WaitGroup
	for i, s := range of {
		asking.Go(func() {
			all[i].Server = s
			for _, user := range users {
				found := a.connectionsOf(ctx, key, s, user)
				if all[i].All = append(all[i].All, found.All...); found.Reason != "" {
					all[i] = found
					return
				}
			}
		})
	}
	asking.Wait()
	return all
}

// connectionsOf asks one nats-server for the connections of a user, page by page; "" are all users.
// A connection that ends or comes between two pages may be missed. Pages are in the order of
// connection ids, which a nats-server counts up.
func (a *Asker) connectionsOf(ctx context.Context, key string, s Server, user string) Connections {
	all := Connections{Server: s}
	seen := make(map[uint64]bool)
	for offset := 0; ; offset += pageSize {
		page := a.page(ctx, s, query{key, true, "cid", pageSize, offset, user})
		if page.reason != "" {
			return Connections{Server: s, Reason: page.reason}
		}
		for _, c := range page.Conns {
			// An old nats-server may answer with all users.
			if c.Server = s; !seen[c.ID] && (user == "" || c.User == user) {
				seen[c.ID] = true
				all.All = append(all.All, c)
			}
		}
		switch {
		case offset >= maxConnections:
			return Connections{Server: s,
				Reason: "it has too many connections to be looked at one by one"}
		case len(page.Conns) < pageSize || offset+pageSize >= page.Total:
			return all
		}
	}
}

// page is the data of an answer to CONNZ.
type page struct {
	Total  int         `json:"total"`
	Conns  connections `json:"connections"`
	reason string      // why there are none; "": it is a page
}

// query is the payload of CONNZ. Example: {"acc": "A…", "auth": true, "sort": "cid", "limit": 5000,
// "offset": 0}.
type query struct {
	Account string `json:"acc"`
	Auth    bool   `json:"auth"` // with users and issuers
	Sort    string `json:"sort"`
	Limit   int    `json:"limit"`
	Offset  int    `json:"offset"`
	User    string `json:"user,omitempty"`
}

// page asks one nats-server for the connections from an offset on. It goes to this nats-server
// alone, by its id.
func (a *Asker) page(ctx context.Context, s Server, of query) page {
	payload, err := json.Marshal(of)
	if err != nil {
		return page{reason: err.Error()}
	}
	read := func(from answer) (p page, reason string) {
		state, reason := from.state()
		if state == Loaded {
			reason = from.decode(&p)
		}
		if len(p.Conns) > pageSize {
			reason = "its answer can't be read: there are more connections than were asked for"
		}
		return p, reason
	}
	q := question{RequestConnections, "$SYS.REQ.SERVER." + s.ID + ".CONNZ", payload, []Server{s}}
	return ask(ctx, a, q, read, func(p *page, _ Server, reason string) { p.reason = reason })[0]
}

// connections is a list, of which at most one more than pageSize is kept: that one tells that there
// are more than were asked for.
type connections []Connection

// UnmarshalJSON reads the list one by one.
func (l *connections) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		var c connection
		if err := d.Decode(&c); err != nil {
			return err
		}
		if len(*l) <= pageSize {
			*l = append(*l, c.read())
		}
		return nil
	})
}

// connection is one connection in an answer to CONNZ. Keys are those of nats-server's ConnInfo.
type connection struct {
	ID            uint64    `json:"cid"`
	Kind          string    `json:"kind"`
	Start         time.Time `json:"start"`
	User          string    `json:"authorized_user"`
	Issuer        string    `json:"issuer_key"`
	Subscriptions uint32    `json:"subscriptions"`
	JWT           string    `json:"jwt"`
}

// read returns what is kept of the connection. A JWT that can't be read counts as hidden.
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

// user is the claims of a user, as far as they are read. jwt.DecodeUserClaims would verify the
// signature besides, which takes far longer.
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

// list is the length of a list. An absent list is 0.
type list int

// UnmarshalJSON counts the elements. null has none.
func (l *list) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		*l++
		return d.Decode(new(json.RawMessage))
	})
}

// isEmpty reports whether the permission allows everything.
func (p permission) isEmpty() bool { return p.Allow == 0 && p.Deny == 0 }

// readUser reads a user's JWT. Its signature is not looked at, since nats-server has let the user
// in. It may be spelled in several ways, of which nats-server takes each. The error is that there
// is no JWT.
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
