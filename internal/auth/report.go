package auth

import (
	"fmt"
	"net/netip"
	"time"
)

const (
	reportEvery = time.Minute
	maxLines    = 20 // in that time
	maxName     = 64 // bytes of a user's name that a stranger made up
)

// report says what is logged about failures, so little that nobody fills the disk with it. The Desk's mu guards it.
type report struct {
	since  time.Time
	lines  int
	untold int // addresses that did not get their line
}

// about returns the lines that are due because a client has failed.
func (r *report) about(c *client, a attempt, now time.Time) (lines []string) {
	if now.Sub(c.told) < reportEvery {
		c.untold++
		return nil
	}
	if now.Sub(r.since) >= reportEvery {
		if r.untold > 0 {
			lines = append(lines, fmt.Sprintf("%d more addresses failed to log in since %s", r.untold, r.since.UTC().Format(time.RFC3339)))
		}
		*r = report{since: now}
	}
	if r.lines >= maxLines {
		c.told = now
		r.untold++
		return lines
	}
	line := fmt.Sprintf("wrong user or password from %s, user %+q", host(a.address), a.name[:min(len(a.name), maxName)])
	if c.untold > 0 {
		line += fmt.Sprintf(", and %d times more since %s", c.untold, c.told.UTC().Format(time.RFC3339))
	}
	c.told, c.untold = now, 0
	r.lines++
	return append(lines, line)
}

func host(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return "an unknown address"
	}
	return at.Addr().Unmap().String()
}
