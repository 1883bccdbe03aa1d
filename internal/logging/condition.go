package logging

import "log/slog"

// Condition is something that is wrong for a while, as it was logged last. "" means that all is
// well. A Condition is logged when it begins and when it changes. The zero value is ready. It is
// for one goroutine, or guarded by its owner.
type Condition string

// Log notes what is wrong now; nil means that nothing is. When it is over, no line is written. The
// level is WRN. What the error says must not change with each try, such as a time.
func (c *Condition) Log(log *slog.Logger, err error) {
	if err == nil {
		*c = ""
		return
	}
	if text := err.Error(); text != string(*c) {
		log.Warn(text)
		*c = Condition(text)
	}
}
