package daemon

import (
	"fmt"
	"log/slog"
)

// logger writes lines that are formatted as by fmt.
type logger struct{ *slog.Logger }

// The methods write a line of one level each: INF, WRN and ERR.
func (l logger) infof(format string, args ...any)  { l.Info(fmt.Sprintf(format, args...)) }
func (l logger) warnf(format string, args ...any)  { l.Warn(fmt.Sprintf(format, args...)) }
func (l logger) errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }
