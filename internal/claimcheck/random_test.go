package claimcheck_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// generator makes claims at random. Most of what it takes is good, so that what is bad is found.
type generator struct {
	*rand.Rand
	keys []string // of a user, of accounts, and something that is none
}

func newGenerator(seed uint64, keys ...string) *generator {
	return &generator{rand.New(rand.NewPCG(seed, 1)), append(keys, "", "no key", "*")}
}

// pick returns one of all.
func pick[T any](g *generator, all ...T) T { return all[g.IntN(len(all))] }

// edit changes claims at one or two places. Half of the claims have a mapping.
func (g *generator) edit(c *jwt.AccountClaims) {
	for range 1 + g.IntN(2) {
		other := pick(g, g.limits, g.export, g.imported, g.signer, g.permissions, g.authorization,
			g.trace, g.rest)
		pick(g, g.mapping, other)(c)
	}
}

// subject is a subject, or nearly one.
func (g *generator) subject() string {
	var tokens []string
	for range 1 + g.IntN(3) {
		tokens = append(tokens,
			pick(g, "a", "b", "c", "foo", "a", "b", "*", "*", "a*", "$JS", "a>b"))
	}
	text := strings.Join(tokens, ".")
	switch g.IntN(24) {
	case 0:
		return pick(g, "", ".", "a..b", "a.", ".a", "a b", "a\tb", "a\nb", ">.a", "a.>.b", "*.>.>")
	case 1, 2, 3:
		return text + ".>"
	case 4:
		return pick(g, ">", "*")
	}
	return text
}

// destination is what a subject may be mapped to, or nearly that.
func (g *generator) destination(from string) string {
	var tokens []string
	for range 1 + g.IntN(3) {
		tokens = append(tokens, g.destinationToken())
	}
	if strings.HasSuffix(from, ">") != (g.IntN(12) == 0) {
		tokens = append(tokens, ">")
	}
	return strings.Join(tokens, ".")
}

func (g *generator) destinationToken() string {
	switch g.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("$%d", g.IntN(4))
	case 2, 3, 4:
		return g.call()
	case 5:
		return pick(g, "*", "", "$", "$x", "$+1", "$-1", "$99999999999999999999",
			"{{}}", "{{x}}", "a\tb",
			"{{wildcard(1)", "{{wildcard(1)}}x", "x{{wildcard(1)}}", "{{wildcard 1}}",
			"{{\twildcard(1)}}",
			"{{split(1,-)}}{{wildcard(1)}}", "{{{wildcard(1)}}}", "{{wild\ncard(1)}}",
			"{{wildcard(1\n)}}")
	}
	return pick(g, "x", "y", "z")
}

// call is a call of a function, or nearly one.
func (g *generator) call() string {
	name := pick(g, "wildcard", "Wildcard", "partition", "Partition", "split",
		"Split", "left", "right",
		"splitfromleft", "SplitFromLeft", "splitFromRight", "sliceFromLeft",
		"SliceFromRight", "random",
		"Random", "unknown", "WILDCARD", "Splitfrom")
	var args []string
	for range pick(g, 0, 1, 1, 1, 2, 2, 2, 3) {
		args = append(args, pick(g, "1", "1", "1", "2", "3", "0", "-1", "10",
			"2147483647", "2147483648", "-2147483649", "x", "", "-", "\t1", "1,\t2"))
	}
	return "{{" + name + "(" + strings.Join(args, ",") + ")}}"
}

func (g *generator) mapping(c *jwt.AccountClaims) {
	from := g.subject()
	var to []jwt.WeightedMapping
	for range pick(g, 0, 1, 1, 1, 2, 3) {
		to = append(to, jwt.WeightedMapping{
			Subject: jwt.Subject(g.destination(from)),
			Weight:  pick[uint8](g, 0, 1, 33, 33, 33, 33, 34, 50, 100, 101, 255),
			Cluster: pick(g, "", "", "", "c1", "c2"),
		})
	}
	c.Mappings[jwt.Subject(from)] = to
}

func (g *generator) limits(c *jwt.AccountClaims) {
	number := func() int64 { return pick[int64](g, -2, -1, -1, 0, 1, 2, 1<<40) }
	switch g.IntN(6) {
	case 0:
		c.Limits.Imports = number()
	case 1:
		c.Limits.Exports = number()
	case 2:
		c.Limits.WildcardExports = false
		c.Limits.Exports = number()
	case 3:
		c.Limits.NatsLimits = jwt.NatsLimits{Subs: number(), Data: number(), Payload: number()}
		c.Limits.Conn, c.Limits.LeafNodeConn = number(), number()
	case 4:
		c.Limits.JetStreamLimits = g.jetStream()
	case 5:
		tier := pick(g, "", "R1", "R3", "x y")
		c.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{tier: g.jetStream()}
		if g.IntN(2) == 0 {
			c.Limits.JetStreamLimits = g.jetStream()
		}
	}
}

func (g *generator) jetStream() jwt.JetStreamLimits {
	number := func() int64 { return pick[int64](g, -1, 0, 1, 1<<40) }
	return jwt.JetStreamLimits{MemoryStorage: number(), DiskStorage: number(), Streams: number(),
		Consumer: number(), MaxAckPending: number(), MemoryMaxStreamBytes: number(),
		DiskMaxStreamBytes: number(), MaxBytesRequired: g.IntN(2) == 0}
}

func (g *generator) export(c *jwt.AccountClaims) {
	e := &jwt.Export{Name: "e", Subject: jwt.Subject(g.subject()),
		Type: pick(g, jwt.Stream, jwt.Service)}
	switch g.IntN(8) {
	case 0:
		e.ResponseType = jwt.ResponseType(pick(g, "", "Singleton", "Stream",
			"Chunked", "singleton"))
	case 1:
		e.ResponseThreshold = pick(g, -time.Second, 0, time.Second)
	case 2:
		e.Latency = &jwt.ServiceLatency{Results: jwt.Subject(g.subject()),
			Sampling: pick[jwt.SamplingRate](g, 0, 1, 50, 100)}
	case 3:
		e.AccountTokenPosition = pick[uint](g, 0, 1, 2, 3, 4, 1<<31)
	case 4:
		e.AllowTrace = true
	case 5:
		e.TokenReq = true
		e.Revocations = jwt.RevocationList{pick(g, g.keys...): pick[int64](g, -1, 0, 1)}
	case 6:
		e.Info = g.info()
	}
	c.Exports.Add(e)
}

func (g *generator) info() jwt.Info {
	return jwt.Info{
		Description: strings.Repeat("x", pick(g, 0, 10, jwt.MaxInfoLength, jwt.MaxInfoLength+1)),
		InfoURL:     pick(g, "", "https://example.com/a", "example.com", "http://", "a b", ":"),
	}
}

func (g *generator) imported(c *jwt.AccountClaims) {
	i := &jwt.Import{Name: "i", Subject: jwt.Subject(g.subject()), Account: pick(g, g.keys...),
		Type: pick(g, jwt.Stream, jwt.Service)}
	switch g.IntN(6) {
	case 0:
		//lint:ignore SA1019 nats-server still reads it
		i.To = jwt.Subject(g.subject())
	case 1:
		i.LocalSubject = jwt.RenamingSubject(g.destination(string(i.Subject)))
	case 2:
		i.LocalSubject = jwt.RenamingSubject(g.subject())
	case 3:
		i.Share, i.AllowTrace = g.IntN(2) == 0, g.IntN(2) == 0
	case 4:
		i.Token = pick(g, "", "x", "a.b.c")
	}
	c.Imports.Add(i)
}

func (g *generator) signer(c *jwt.AccountClaims) {
	key := pick(g, g.keys...)
	if g.IntN(2) == 0 {
		c.SigningKeys.Add(key)
		return
	}
	s := jwt.NewUserScope()
	s.Key, s.Role = key, "r"
	s.Template.Pub.Allow.Add(g.subject(), "{{name()}}", "{{nothing()}}")
	s.Template.Src.Add(pick(g, "10.0.0.0/8", "no address"))
	c.SigningKeys.AddScopedSigner(s)
}

func (g *generator) permissions(c *jwt.AccountClaims) {
	subject := g.subject()
	if g.IntN(3) == 0 {
		subject += pick(g, " ", " q", " q q")
	}
	list := pick(g, &c.DefaultPermissions.Pub, &c.DefaultPermissions.Sub)
	pick(g, &list.Allow, &list.Deny).Add(subject)
}

func (g *generator) authorization(c *jwt.AccountClaims) {
	c.Authorization.AuthUsers.Add(pick(g, "", g.keys[0], g.keys[0], g.keys[1]))
	for range g.IntN(3) {
		c.Authorization.AllowedAccounts.Add(pick(g, g.keys...))
	}
	c.Authorization.XKey = pick(g, "", "", "x")
}

func (g *generator) trace(c *jwt.AccountClaims) {
	c.Trace = &jwt.MsgTrace{Destination: jwt.Subject(g.subject()),
		Sampling: pick(g, -1, 0, 1, 100, 101)}
}

func (g *generator) rest(c *jwt.AccountClaims) {
	c.Info = g.info()
	c.ClusterTraffic = jwt.ClusterTraffic(pick(g, "", "system", "owner", "other"))
	c.Revocations = jwt.RevocationList{pick(g, g.keys...): pick[int64](g, -1, 0, 1<<40)}
	c.Tags.Add("A", "b c", "")
	c.Name = pick(g, "", "x", "\x00\u2028")
}
