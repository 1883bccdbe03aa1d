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

func TestWorkThatGetsATenthOfTheTimePausesNineTimesAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.Sleep(time.Second)
		if alive := pause.Share(t.Context(), began, 10); !alive || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %s", alive, time.Since(began))
		}
	})
}

func TestWakeIsRememberedOnceAndNeverBlocks(t *testing.T) {
	c := make(chan struct{}, 1)
	pause.Wake(c)
	pause.Wake(c)
	<-c
	if len(c) > 0 {
		t.Error("two calls before a receive are remembered as two")
	}
	pause.Wake(nil)
}
