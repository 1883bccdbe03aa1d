package accounts

import "context"

// Put is the one way in. It sees that the operator signed the JWT for this account, compares it with what is stored,
// commits it, and has it announced. It does not wait for the nats-servers. What is done differently for one way in
// than for another follows from its Origin.
//
// If it returns without an error the JWT is on stable storage and will be announced, whatever happens to this process.
// Otherwise nothing has changed, and the error is one of those in errors.go.
func (r *Registry) Put(ctx context.Context, key string, token []byte, from Origin) (Result, error) {
	switch {
	case from.Kind == KindHTTP:
		return r.submitted(ctx, key, token, from)
	case from.Kind == KindNATS:
		return r.overheard(ctx, key, token, from)
	case from.Peer:
		return r.merged(ctx, key, token, from)
	default:
		return r.offered(ctx, key, token, from)
	}
}
