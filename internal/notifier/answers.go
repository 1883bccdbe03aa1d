package notifier

import (
	"encoding/json"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/logging"
)

// maxName, maxVersion and maxReason bound what a nats-server says, in bytes. It ends up in logs,
// and any user of the system account can say it.
const (
	maxName    = 128
	maxVersion = 32
	maxReason  = 512
)

// accountServer is the name under which other account servers answer. Nothing is pending for them.
const accountServer = "nats-account-server"

// serverID identifies a nats-server and its process.
type serverID struct {
	Name string `json:"name"`
	ID   string `json:"id"` // of the process: a restart changes it; "" if it does not say
}

// message is the JSON of everything that nats-servers answer, as far as it is read here. Each
// answer has only some of the fields.
type message struct {
	serverID // only in the answer to idzSubject
	Server   struct {
		serverID
		Version string `json:"ver"`
		Cluster string `json:"cluster"`
	} `json:"server"`
	Stats struct {
		ActiveServers int `json:"active_servers"` // that this one knows of, itself included
	} `json:"statsz"`
	Data *struct {
		Message  string   `json:"message"`  // about an update
		Accounts []string `json:"accounts"` // that are loaded
		Detail   *struct {
			JWT string `json:"jwt"`
		} `json:"account_detail"` // about an account
	} `json:"data"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

// result is what a nats-server has done with an update.
type result int

const (
	refused   result = iota // it has not taken the JWT, or does not say that it has
	applied                 // it runs the JWT, or will when it needs the account
	skipped                 // it has not loaded the account, and fetches the JWT when it needs it
	notCached               // its cache lacks the account, and may get an older JWT elsewhere
)

// resolverKind is how a nats-server gets JWTs, as far as that matters here.
type resolverKind int

const (
	unknownResolver resolverKind = iota
	fetching                     // URL or memory: it keeps no JWTs, so a restart fetches them
	caching                      // it keeps the JWTs of those accounts that are needed there
)

// answer is what a message means. No other code of this package looks at the texts of nats-server.
type answer struct {
	serverID
	version       string // "" if it does not say
	cluster       string // "" if it does not say
	activeServers int    // how many there are, as far as it knows; 0 if it does not say

	result   result           // if it answers an update
	reason   string           // of refused
	resolver resolverKind     // as far as this answer shows
	running  accounts.Running // if it answers what it runs for an account
	loaded   []string         // if it answers which accounts it has loaded; else nil
}

// readAnswer reads a message. ok is false if no nats-server can have sent it.
func readAnswer(data []byte) (a answer, ok bool) {
	var m message
	if json.Unmarshal(data, &m) != nil {
		return a, false
	}
	id := m.Server.serverID // all but the answer to idzSubject have it
	if id.Name == "" {
		id = m.serverID
	}
	a = answer{
		serverID:      serverID{Name: logging.Quote(id.Name, maxName), ID: id.ID},
		version:       logging.Quote(m.Server.Version, maxVersion),
		cluster:       logging.Quote(m.Server.Cluster, maxName),
		activeServers: m.Stats.ActiveServers,
	}
	a.readTexts(m)
	return a, a.Name != "" && a.Name != accountServer && isID(a.ID)
}

// readTexts finds out what the texts of a message mean, as the answer to an update and as that to
// an ACCOUNTZ request. A message does not say which of the two it is: its subject does.
func (a *answer) readTexts(m message) {
	switch {
	case m.Error != nil:
		a.reason = logging.Cut(m.Error.Description, maxReason)
		a.result, a.running = refused, accounts.Running{State: accounts.NoAnswer, Reason: a.reason}
		if facts.IsNotLoaded(a.reason) {
			a.running = accounts.Running{State: accounts.NotLoaded}
		}
	case m.Data == nil:
		a.reason = "it answers, but neither with data nor with an error"
		a.result, a.running = refused, accounts.Running{State: accounts.NotLoaded}
	default:
		a.readData(m.Data.Message)
		a.loaded = m.Data.Accounts
		a.running = accounts.Running{State: accounts.NotLoaded}
		if m.Data.Detail != nil && m.Data.Detail.JWT != "" {
			a.running = accounts.Running{State: accounts.Loaded, JWT: []byte(m.Data.Detail.JWT)}
		}
	}
}

// readData reads the text about an update: "jwt updated" or "jwt update skipped" of a server which
// fetches JWTs, "jwt updated cache" or "jwt update cache skipped" of a cache, "jwt updated" of one
// that keeps them all.
func (a *answer) readData(text string) {
	isCache, isSkipped := strings.Contains(text, " cache"), strings.Contains(text, "skipped")
	a.result = applied
	switch {
	case strings.Contains(text, "cache skipped"):
		a.result = notCached
	case isSkipped:
		a.result, a.resolver = skipped, fetching
	}
	if isCache {
		a.resolver = caching
	}
}

// isID reports whether an id can be part of a subject. A real one is a public server key.
func isID(id string) bool {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return len(id) <= maxName && strings.Trim(id, allowed) == ""
}
