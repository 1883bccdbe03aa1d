package facts

import (
	"context"
	"encoding/json"
	"fmt"
)

// Connected is how many clients and leaf nodes of some accounts one nats-server has.
type Connected struct {
	Server    Server
	Reason    string         // why that is not known; "": it is
	ByAccount map[string]int // an account that is not loaded there is not in it
}

// Connected asks all nats-servers how many clients and leaf nodes of these accounts they have. None
// loads an account for that. It is counted as RequestInfo: it asks a part of that, for many
// accounts at once.
func (a *Asker) Connected(ctx context.Context, keys []string) (all []Connected) {
	payload, err := json.Marshal(struct {
		Accounts []string `json:"accounts"`
		Unused   bool     `json:"include_unused"` // else one that has no connection does not answer
	}{keys, true})
	if err != nil || len(keys) == 0 {
		return nil
	}
	read := func(from answer) (Connected, string) { return readConnected(keys, from) }
	q := question{RequestInfo, "$SYS.REQ.ACCOUNT.PING.STATZ", payload, a.Servers()}
	return ask(ctx, a, q, read, func(c *Connected, s Server, reason string) {
		c.Server, c.Reason = s, reason
	})
}

// readConnected reads an answer to STATZ about accounts. reason is why it can't be used, "" if it
// can.
func readConnected(keys []string, a answer) (c Connected, reason string) {
	if state, reason := a.state(); state != Loaded {
		return c, reason
	}
	var d struct {
		Accounts totals `json:"account_statz"`
	}
	d.Accounts.isAsked = make(map[string]bool, len(keys))
	for _, key := range keys {
		d.Accounts.isAsked[key] = true
	}
	d.Accounts.byAccount = make(map[string]int)
	if reason := a.decode(&d); reason != "" {
		return c, reason
	}
	if n := d.Accounts.impossible; n != 0 {
		return c, fmt.Sprintf("its answer has an impossible number: %d", n)
	}
	return Connected{ByAccount: d.Accounts.byAccount}, ""
}

// totals is a list of which only the accounts are kept that were asked for.
type totals struct {
	isAsked    map[string]bool
	byAccount  map[string]int
	impossible int // a number that can't be; 0: there is none
}

// UnmarshalJSON reads the list one by one.
func (l *totals) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		var of struct {
			Account string `json:"acc"`
			Total   int    `json:"total_conns"`
		}
		if err := d.Decode(&of); err != nil {
			return err
		}
		switch {
		case of.Total < 0 || of.Total > maxCount:
			l.impossible = of.Total
		case l.isAsked[of.Account]:
			l.byAccount[of.Account] = of.Total
		}
		return nil
	})
}
