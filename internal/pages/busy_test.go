package pages

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"
)

// A crowd of requests for pages would keep those for JWTs waiting.
func TestPagesAreMadeOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Site{making: semaphore.NewWeighted(1)}
		end, err := s.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := s.begin(t.Context()); !errors.Is(err, ErrBusy) || time.Since(began) != maxQueue {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := s.begin(gone); !errors.Is(err, ErrBusy) {
			t.Error("a browser that has left gets a page:", err)
		}
		time.AfterFunc(time.Second, end)
		if end, err = s.begin(t.Context()); err != nil {
			t.Error(err)
		}
		end()
		if !s.making.TryAcquire(1) {
			t.Error("a page is still being made")
		}
	})
}
