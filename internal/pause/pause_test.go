package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/pause"
)

func TestForReturnsAfterTheTimeOrWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if alive := pause.For(t.Context(), time.Hour); !alive || time.Since(began) != time.Hour {
			t.Errorf("%v after %s", alive, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began = time.Now()
		if alive := pause.For(ctx, time.Hour); alive || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", alive, time.Since(began))
		}
	})
}
