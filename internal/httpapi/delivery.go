package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/trust"
)

// delivery is the answer to delivery=true: what the nats-servers have done with the stored JWT.
type delivery struct {
	Account string `json:"account"`
	version
	NATS         string        `json:"nats"`         // connected, not connected, not configured
	Acknowledged []deliveredTo `json:"acknowledged"` // owed nothing
	Owed         []deliveredTo `json:"owed"`         // told until they acknowledge it
}

// version tells JWTs of an account apart.
type version struct {
	JTI  string `json:"jti"`
	IAT  int64  `json:"iat"`  // Unix seconds
	Hash string `json:"hash"` // SHA-256 of the JWT, in hex
}

// deliveredTo is one nats-server that is known.
type deliveredTo struct {
	Server  string     `json:"server"`            // its name
	ID      string     `json:"id,omitempty"`      // of its process
	Version string     `json:"version,omitempty"` // of nats-server
	Here    bool       `json:"here"`              // it has answered the last PING
	Seen    time.Time  `json:"seen"`
	Since   *time.Time `json:"since,omitempty"`  // when what it is owed was committed
	Reason  string     `json:"reason,omitempty"` // why it is still owed
	Runs    *runs      `json:"runs,omitempty"`   // with verify=true
}

// runs is what a nats-server really runs.
type runs struct {
	State string `json:"state"` // current, another, not loaded, no answer
	*version
	Reason string `json:"reason,omitempty"`
}

// sendDelivery tells what became of an account's JWT. Only one request at a time makes all nats-servers answer.
func (a *API) sendDelivery(w http.ResponseWriter, r *http.Request, account *accounts.Account, verify bool) error {
	if verify {
		if err := a.takeTurn(r.Context()); err != nil {
			return err
		}
		defer a.endTurn()
	}
	report := a.gate.Report(r.Context(), account.Key, verify)
	body, err := json.MarshalIndent(describe(account, report), "", "  ")
	if err != nil {
		return err
	}
	for name, value := range noCache {
		w.Header().Set(name, value)
	}
	send(w, http.StatusOK, "application/json", string(body)+"\n")
	return nil
}

const (
	turnWithin = time.Second            // to wait for others who verify
	turnLeast  = 100 * time.Millisecond // between two of them: anyone may ask
)

func (a *API) takeTurn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, turnWithin)
	defer cancel()
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errBusy
	}
}

func (a *API) endTurn() {
	time.AfterFunc(turnLeast, func() { <-a.turn })
}

func describe(account *accounts.Account, report accounts.Report) delivery {
	d := delivery{
		Account:      account.Key,
		version:      version{account.ID, account.IssuedAt, hash(account.JWT)},
		NATS:         map[accounts.DeliveryState]string{accounts.Sent: "connected", accounts.NotConnected: "not connected"}[report.State],
		Acknowledged: []deliveredTo{},
		Owed:         []deliveredTo{},
	}
	if d.NATS == "" {
		d.NATS = "not configured"
	}
	for _, s := range report.Servers {
		to := deliveredTo{Server: s.Name, ID: s.ID, Version: s.Version, Here: s.Here, Seen: s.Seen.UTC(), Reason: s.Reason}
		if s.Runs != nil {
			to.Runs = compare(*s.Runs, d.Hash)
		}
		if s.Acked {
			d.Acknowledged = append(d.Acknowledged, to)
			continue
		}
		since := s.Since.UTC()
		to.Since = &since
		d.Owed = append(d.Owed, to)
	}
	return d
}

// compare says how what a nats-server runs relates to what is stored.
func compare(r accounts.Running, stored string) *runs {
	switch r.State {
	case accounts.Loaded:
		v := version{Hash: hash(r.JWT)}
		if head, err := trust.Peek(r.JWT); err == nil {
			v.JTI, v.IAT = head.ID, head.IssuedAt
		}
		if v.Hash == stored {
			return &runs{State: "current", version: &v}
		}
		return &runs{State: "another", version: &v}
	case accounts.NotLoaded:
		return &runs{State: "not loaded"}
	default:
		return &runs{State: "no answer", Reason: r.Reason}
	}
}

func hash(token []byte) string {
	sum := sha256.Sum256(token)
	return hex.EncodeToString(sum[:])
}
