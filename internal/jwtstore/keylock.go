package jwtstore

import (
	"context"
	"sync"
)

// KeyLocks serialises work by key. The zero value is ready; a key that is not in use costs nothing.
type KeyLocks struct {
	held sync.Map // key -> a channel that is closed when the key is free
}

// Lock waits until no other goroutine holds key. The error is ctx's. Of several that wait any may
// come next.
func (k *KeyLocks) Lock(ctx context.Context, key string) (unlock func(), err error) {
	own := make(chan struct{})
	for ctx.Err() == nil {
		other, taken := k.held.LoadOrStore(key, own)
		if !taken {
			return func() { k.held.Delete(key); close(own) }, nil
		}
		select {
		case <-other.(chan struct{}):
		case <-ctx.Done():
		}
	}
	return nil, context.Cause(ctx)
}
