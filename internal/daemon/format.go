package daemon

import (
	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
)

// LogFormat is the line format that a logging section asks for.
func LogFormat(c config.Logging) logging.Format {
	return logging.Format{Time: c.Time, PID: c.PID, Colors: c.Colors, Debug: c.Debug, Trace: c.Trace}
}
