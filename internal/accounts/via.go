package accounts

import (
	"context"
	"regexp"
	"strings"
)

// maxVia bounds the account servers that a request can come through. More are taken for a circle.
const maxVia = 16

// IDPrefix is how the ID of an account server begins, which a Via header has.
const IDPrefix = "nas-"

// serverIDs are the account servers in a Via header. Nothing else in it is passed on.
var serverIDs = regexp.MustCompile(IDPrefix + `[A-Z2-7]{16}`)

type viaKey struct{}

// WithVia keeps which account servers a request has come through, from the header Via of HTTP.
func WithVia(ctx context.Context, header string) context.Context {
	through := serverIDs.FindAllString(header, maxVia+1)
	return context.WithValue(ctx, viaKey{}, strings.Join(through, ", 1.1 "))
}

// Via is what WithVia keeps, with a version before each server but the first. It is "" if there are
// none.
func Via(ctx context.Context) string {
	via, _ := ctx.Value(viaKey{}).(string)
	return via
}

// ExtendVia returns a Via header for a request that this server passes on. The error is ErrCircle
// if the request has come through this server already, or through so many that they must be a
// circle. id names this server.
func ExtendVia(ctx context.Context, id string) (header string, err error) {
	via := Via(ctx)
	switch {
	case strings.Count(via, IDPrefix) > maxVia || strings.Contains(via, id):
		return "", ErrCircle
	case via == "":
		return "1.1 " + id, nil
	}
	return "1.1 " + via + ", 1.1 " + id, nil
}
