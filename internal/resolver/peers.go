package resolver

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// peerPeriod is how long a server that has answered is expected to answer again.
	peerPeriod = time.Hour
	// alonePeriod is how long it counts that no server listens to lookups.
	alonePeriod = time.Second
)

// Why it can't be known whether another server has an account.
var (
	errNotConnected = errors.New("NATS is not connected")
	errTooMany      = errors.New("too many accounts are being asked for")
	errSilent       = errors.New("no other server has answered in time")
)

// peers is what is known of the servers that answer lookups. They are nats-servers with a full
// resolver and account servers. An empty answer does not name its server, so they are only counted.
type peers struct {
	count int       // how many have answered the same lookup; a pack shows one
	seen  time.Time // when as many have last answered
	alone time.Time // when nats-server last said that no server listens
	// answers is how many the last lookup got, of any kind, and counted when that was. Zero: none
	// has waited for all answers.
	answers int
	counted time.Time
}

// expected returns how many servers must say that they don't have an account.
func (p *peers) expected(now time.Time) int {
	if now.Sub(p.seen) > peerPeriod {
		return 0
	}
	return p.count
}

// recordServers records that so many servers have answered.
func (p *peers) recordServers(count int, now time.Time) {
	if count > 0 && count >= p.expected(now) {
		p.count, p.seen = count, now
	}
}

// recordAnswers records that a lookup got so many answers, and no more.
func (p *peers) recordAnswers(answers int, now time.Time) {
	p.answers, p.counted = answers, now
}

// answering returns how many answers a lookup gets; a very large number if that is not known.
func (p *peers) answering(now time.Time) int {
	if now.Sub(p.counted) > peerPeriod {
		return math.MaxInt
	}
	return p.answers
}

// areNone reports whether it is known, without a request, that there is no server to ask.
func (p *peers) areNone(now time.Time) bool {
	return p.expected(now) == 0 && now.Sub(p.alone) < alonePeriod
}

// judge says what it means that so many servers have answered a lookup and none of them has the
// account. noListener means that nats-server has said that no server listens. The error is nil if
// it is certain that no server has the account.
func (p *peers) judge(answers int, noListener bool, now time.Time) error {
	expected := p.expected(now)
	if noListener {
		p.alone = now
	}
	switch {
	case answers < expected:
		return fmt.Errorf("only %d of %d other servers have answered in time", answers, expected)
	case answers == 0 && !noListener:
		return errSilent
	}
	p.recordServers(answers, now)
	p.recordAnswers(answers, now)
	return nil
}
