package httpserver_test

import (
	"log/slog"
	"testing"
	"time"

	"nats-account-server/internal/httpserver"
)

func TestTimeoutsAndHeaderLimit(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s := httpserver.NewHTTP(nil, 5*time.Second, 3*time.Second, log)
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 5*time.Second ||
		s.IdleTimeout != 5*time.Second ||
		s.WriteTimeout != 8*time.Second || s.MaxHeaderBytes != 28<<10 || s.ErrorLog == nil {
		t.Errorf("%+v", s)
	}
	if w := httpserver.NewHTTP(nil, 0, 3*time.Second, log).WriteTimeout; w != 0 {
		t.Errorf("a body without a limit leaves %v for the answer", w)
	}
	if w := httpserver.NewHTTP(nil, 3*time.Second, 0, log).WriteTimeout; w != 0 {
		t.Errorf("no limit for the answer became %v", w)
	}
}
