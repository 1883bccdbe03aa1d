package httpapi

import (
	"net/http"
	"time"
)

// history is the answer to history=true: what the bucket keeps of an account.
type history struct {
	Account   string     `json:"account"`
	Revisions []revision `json:"revisions"` // oldest first
}

// revision is one change of the account.
type revision struct {
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"`
	Door     string    `json:"door"` // way in, or "offer" for what a server had in its directory
	User     string    `json:"user,omitempty"`
	Server   string    `json:"server,omitempty"`   // that has taken it
	Override bool      `json:"override,omitempty"` // it has replaced a newer JWT
	Deleted  bool      `json:"deleted,omitempty"`
	*version
	JWT string `json:"jwt,omitempty"` // can be pushed again
}

// sendHistory sends what the bucket keeps of an account. It asks the bucket each time, and waits
// for it. The list may be empty: the account is in no revision that is kept.
func (a *API) sendHistory(w http.ResponseWriter, r *http.Request, key string) error {
	if a.Revisions == nil {
		return errNoHistory
	}
	kept, err := a.Revisions(r.Context(), key)
	if err != nil {
		return err
	}
	h := history{Account: key, Revisions: []revision{}}
	for _, k := range kept {
		shown := revision{Revision: k.Revision, Time: k.At.UTC(), Door: k.Kind, User: k.User,
			Server: k.Server, Override: k.Override, Deleted: k.Deleted, JWT: string(k.JWT)}
		if k.JWT != nil {
			shown.version = versionOf(k.JWT)
		}
		h.Revisions = append(h.Revisions, shown)
	}
	return sendJSON(w, http.StatusOK, h)
}
