package accounts

import "context"

type viaKey struct{}

// WithVia says which account servers a question has come through, as the header Via of HTTP does. Each that passes it on adds
// itself, and does not pass on what it has passed on before.
func WithVia(ctx context.Context, via string) context.Context {
	return context.WithValue(ctx, viaKey{}, via)
}

// Via is what WithVia said, "" if nothing.
func Via(ctx context.Context) string {
	via, _ := ctx.Value(viaKey{}).(string)
	return via
}
