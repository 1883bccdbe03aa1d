package effect

import (
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
)

// askServers asks nats-servers what they say of the account, once for all finders. Those that do
// not answer are unknown. What one says counts for the stored JWT: if it runs another one, the push
// changes something else there.
func (p *push) askServers() {
	defer p.spend(time.Now())
	if p.infos = p.facts.Info(p.asking, p.key); len(p.infos) == 0 {
		p.add(Unknown, "not_asked", 0, "no nats-server is known that could be asked")
	}
	for _, i := range p.infos {
		if i.State == facts.Unknown {
			p.unknown(i.Server, i.Reason)
		}
		// One that knows the account only from other nats-servers runs no JWT.
		none := jwtstore.Hash{}
		if i.State == facts.Loaded && i.JWT != p.hash && p.hash != none && i.JWT != none {
			p.unknown(i.Server,
				"it runs another JWT than the stored one, so other things may change there")
		}
	}
}

// spend adds the time since began to what asking has taken.
func (p *push) spend(began time.Time) { p.took += time.Since(began) }

// unknown says that a nats-server has not told what is needed. reason is a clause on one line.
func (p *push) unknown(s facts.Server, reason string) {
	p.add(Unknown, "server_silent", 0, "nats-server %s: %s", claimdiff.Plain(s.Name), reason)
}

// connected returns the nats-servers that have connections of the account, and how many they have.
// total is that of all of them.
func connected(infos []facts.Info) (of []facts.Server, total int) {
	for _, i := range infos {
		if i.State == facts.Loaded && i.Total() > 0 {
			of, total = append(of, i.Server), total+i.Total()
		}
	}
	return of, total
}
