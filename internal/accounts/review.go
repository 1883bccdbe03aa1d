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

// Review looks for what was changed in the store by hand, and logs how many of the stored JWTs are
// not served, and why the first ones are not. It is for the background, after a start and after
// each change of the trust. It reads only what the index does not know, and what may be good under
// this trust and was not under the one before. Files that were edited in place are looked for if
// rescan is set.
func (c *scanner) Review(ctx context.Context, rescan bool) {
	wasFilled := c.filled.Load()
	before := c.survey(ctx, false)
	isJudged := before.isJudged && before.stored > 0 && c.index.Lost() == 0
	_ = c.rescan(ctx, jwtstore.Scan{Every: rescan}) // logs what can't be read
	found := before
	// What is known of a store that was never seen whole may be its system account only.
	if rescan || !isJudged || !wasFilled {
		found = c.survey(ctx, true)
	}
	if ctx.Err() == nil {
		c.compared.Store(true)
	}
	stored, bad, named := found.stored, found.bad, found.named
	switch {
	case ctx.Err() != nil:
	case bad > 0:
		c.Log.Warn(fmt.Sprintf("%d of %d stored JWTs are no longer good and are not served, "+
			"sign these accounts anew and push them: %s", bad, stored, strings.Join(named, "; ")))
	case stored > 0 && (!isJudged || stored != before.stored):
		text := "all " + strconv.Itoa(stored) + " stored JWTs are"
		if stored == 1 {
			text = "the one stored JWT is"
		}
		c.Log.Info(text + " good under the present operators")
	}
}

// Compared reports whether a Review has seen that the index has all that is stored.
func (c *scanner) Compared() bool { return c.compared.Load() }

// survey is what the index has.
type survey struct {
	isJudged    bool // all of it under the present trust
	stored, bad int
	named       []string // the first bad ones, and why they are not served
}

// survey counts the stored JWTs and those of them that are not served. Unless the whole is asked
// for, it ends at one that is to be judged again.
func (c *scanner) survey(ctx context.Context, whole bool) (s survey) {
	c.scanning.Lock() // a scan that waits for it need not look whether all is judged
	defer c.scanning.Unlock()
	t := c.trust.Load()
	s.isJudged = true
	for key, v := range c.index.All() {
		if v.Mark != t.mark || lacksSummary(v) || ctx.Err() != nil {
			s.isJudged = false
		}
		if ctx.Err() != nil || !s.isJudged && !whole {
			return s
		}
		if s.stored++; v.Servable || t.hasNewer(key, v.Floor) {
			continue
		}
		if s.bad++; s.bad > maxNamed {
			continue
		}
		if why := c.whyBad(t, key); why != nil { // otherwise a good one has just come
			s.named = append(s.named, fmt.Sprintf("%s (%s)", key,
				logging.Quote(why.Error(), maxErrorBytes)))
		}
	}
	if s.bad > maxNamed {
		s.named = append(s.named, fmt.Sprintf("and %d more", s.bad-maxNamed))
	}
	if s.isJudged {
		c.judged = t
	}
	return s
}

// whyBad returns why what is stored for an account is not served.
func (c *scanner) whyBad(t *Trust, key string) error {
	token, _, err := c.Store.Load(key, jwtstore.Stamp{})
	if err == nil {
		_, err = t.Operators.Check(key, bytes.TrimSpace(token))
	}
	return err
}
