package accounts

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// maxNamed is how many accounts the line of Review names.
const maxNamed = 5

// Review logs how many of the stored JWTs are not served, and why the first ones are not. It is for the
// background, after a start and after each change of the trust. It reads only what may be good under this
// trust and was not under the one before. Files that were edited by hand are looked for if rescan is set.
func (c *catalog) Review(ctx context.Context, rescan bool) {
	isJudged := c.isJudged()
	if rescan {
		_ = c.Rescan(ctx) // logs what can't be read
	} else if !isJudged {
		_ = c.RescanChanged(ctx)
	}
	stored, bad, named := c.unservable(ctx)
	switch {
	case ctx.Err() != nil:
	case bad > 0:
		c.Log.Warn(fmt.Sprintf("%d of %d stored JWTs are no longer good and are not served, sign these "+
			"accounts anew and push them: %s", bad, stored, strings.Join(named, "; ")))
	case stored > 0 && !isJudged:
		text := "all " + strconv.Itoa(stored) + " stored JWTs are"
		if stored == 1 {
			text = "the one stored JWT is"
		}
		c.Log.Info(text + " good under the present operators")
	}
}

// isJudged reports whether the index has something, and has all of it as it is under the present trust.
func (c *catalog) isJudged() bool {
	t, isEmpty := c.trust.Load(), true
	for _, v := range c.index.All() {
		if isEmpty = false; v.Mark != t.mark {
			return false
		}
	}
	return !isEmpty && c.index.Lost() == 0
}

// unservable counts the stored JWTs and those of them that are not served, and names the first ones.
func (c *catalog) unservable(ctx context.Context) (stored, bad int, named []string) {
	t := c.trust.Load()
	for key, v := range c.index.All() {
		if ctx.Err() != nil {
			break
		}
		if stored++; v.Servable || t.hasNewer(key, v.Floor) {
			continue
		}
		if bad++; bad > maxNamed {
			continue
		}
		token, _, err := c.Store.Load(key, jwtstore.Stamp{})
		if err == nil {
			_, err = t.Operators.Check(key, bytes.TrimSpace(token))
		}
		if err != nil { // otherwise a good one has just come
			named = append(named, fmt.Sprintf("%s (%s)", key, logging.Quote(err.Error(), maxErrorBytes)))
		}
	}
	if bad > maxNamed {
		named = append(named, fmt.Sprintf("and %d more", bad-maxNamed))
	}
	return stored, bad, named
}
