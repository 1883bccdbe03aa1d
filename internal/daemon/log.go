package daemon

import (
	"fmt"
	"log/slog"

	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
)

// logger writes lines that are formatted as by fmt.
type logger struct{ *slog.Logger }

func (l logger) infof(format string, args ...any)  { l.Info(fmt.Sprintf(format, args...)) }
func (l logger) warnf(format string, args ...any)  { l.Warn(fmt.Sprintf(format, args...)) }
func (l logger) errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

// LogFormat is the line format that a logging section asks for.
func LogFormat(c config.Logging) logging.Format {
	return logging.Format{Time: c.Time, PID: c.PID, Colors: c.Colors, Debug: c.Debug, Trace: c.Trace}
}
