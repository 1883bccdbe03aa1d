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
	isAsked := make(map[string]bool, len(keys))
	for _, key := range keys {
		isAsked[key] = true
	}
	read := func(from answer) (Connected, string) { return readConnected(isAsked, from) }
	return ask(ctx, a, RequestInfo, "$SYS.REQ.ACCOUNT.PING.STATZ", payload, a.Servers(), read,
		func(c *Connected, s Server, reason string) { c.Server, c.Reason = s, reason })
}

// readConnected reads an answer to STATZ. reason is why it can't be used, "" if it can. Accounts
// that were not asked for are left out.
func readConnected(isAsked map[string]bool, a answer) (c Connected, reason string) {
	if state, why := a.state(); state != Loaded {
		return c, why
	}
	var d struct {
		Accounts json.RawMessage `json:"account_statz"`
	}
	err := json.Unmarshal(a.Data, &d)
	c.ByAccount = make(map[string]int)
	impossible := 0
	if err == nil && d.Accounts != nil {
		err = eachElement(d.Accounts, func(j *json.Decoder) error {
			var of struct {
				Account string `json:"acc"`
				Total   int    `json:"total_conns"`
			}
			err := j.Decode(&of)
			switch {
			case err != nil:
			case of.Total < 0 || of.Total > maxCount:
				impossible = of.Total
			case isAsked[of.Account]:
				c.ByAccount[of.Account] = of.Total
			}
			return err
		})
	}
	switch {
	case err != nil:
		return c, "its answer can't be read: " + fault(err)
	case impossible != 0:
		return c, fmt.Sprintf("its answer has an impossible number: %d", impossible)
	}
	return c, ""
}
