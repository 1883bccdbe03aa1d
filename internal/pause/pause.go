// Package pause lets a goroutine wait, and wakes one that waits. It imports no other package of
// this program, and every package may import it.
package pause

import (
	"context"
	"time"
)

// For returns after d, or when ctx ends. It reports whether ctx is still alive.
func For(ctx context.Context, d time.Duration) bool {
	paused, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-paused.Done()
	return ctx.Err() == nil
}

// Share pauses after work that began at a time, for so long that the work takes one of so many parts
// of the time. It reports whether ctx is still alive.
func Share(ctx context.Context, began time.Time, parts time.Duration) bool {
	return For(ctx, (parts-1)*time.Since(began))
}

// Wake wakes a goroutine that receives from c, now or at its next receive. It never blocks. c needs
// a capacity of one for each such goroutine.
func Wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
