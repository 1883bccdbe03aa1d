package config

import (
	"fmt"
	"time"

	"nats-account-server/internal/natsconf"
)

// A setter reads the value of an entry and stores it in a field. An error is a mistake in the
// value; the field is then unchanged.
type setter func(l *loader, k *key, e natsconf.Entry) error

// set returns a setter for a value that parse understands and that passes each check. parse gets
// the name of the key, a check its full name.
func set[T any](
	into *T,
	parse func(name string, value any) (T, error),
	checks ...func(path string, v T) error,
) setter {
	return func(_ *loader, k *key, e natsconf.Entry) error {
		v, err := parse(k.name, e.Value.Data)
		for _, check := range checks {
			if err == nil {
				err = check(k.path(), v)
			}
		}
		if err == nil {
			*into = v
		}
		return err
	}
}

func boolean(into *bool) setter       { return set(into, parseBool) }
func integer(into *int) setter        { return set(into, parseInt) }
func port(into *int) setter           { return set(into, parseInt, isPort) }
func text(into *string) setter        { return set(into, parseText) }
func subject(into *string) setter     { return set(into, parseText, isSubject) }
func path(into *string) setter        { return set(into, parsePath) }
func urls(into *[]string) setter      { return set(into, parseURLs) }
func verify(into *Verify) setter      { return set(into, parseVerify) }
func operatorJWT(into *JWTRef) setter { return set(into, parseOperator) }
func systemJWT(into *JWTRef) setter   { return set(into, parseSystem) }

// timeout is for a time that may neither be 0, which would be no limit, nor very long.
func timeout(into *time.Duration) setter {
	return set(into, parseDuration, positive, atMostADay)
}

// interval is for a time of which 0 means never.
func interval(into *time.Duration) setter {
	return set(into, parseDuration, notNegative)
}

// forgetTime is for a time that must not be too short, because work is lost when it ends.
func forgetTime(into *time.Duration) setter {
	return set(into, parseDuration, atLeastASecond)
}

// minReconnectWait keeps a server that can't connect from trying all the time.
const minReconnectWait = 100 * time.Millisecond

// reconnectWait raises a shorter wait to minReconnectWait.
func reconnectWait(into *time.Duration) setter {
	given := set(into, parseDuration, notNegative, atMostADay)
	return func(l *loader, k *key, e natsconf.Entry) error {
		if err := given(l, k, e); err != nil {
			return err
		}
		if *into < minReconnectWait {
			*into = minReconnectWait
			l.warn(e.Value.Pos, false, "%s is raised to 100 ms", k.path())
		}
		return nil
	}
}

// maxReconnects is a key of the original that has no effect here.
func maxReconnects() setter {
	return func(l *loader, k *key, e natsconf.Entry) error {
		n, err := parseInt(k.name, e.Value.Data)
		if err == nil && n != -1 {
			l.warn(e.Pos, false, "maxreconnects has no effect: reconnecting never ends")
		}
		return err
	}
}

func positive(path string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s must be more than 0", path)
	}
	return nil
}

func notNegative(path string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s must not be negative", path)
	}
	return nil
}

// atMostADay finds a duration whose unit is probably wrong.
func atMostADay(path string, d time.Duration) error {
	if d > 24*time.Hour {
		return fmt.Errorf("%s must be at most a day, not %s", path, d)
	}
	return nil
}

func atLeastASecond(path string, d time.Duration) error {
	if d < time.Second {
		return fmt.Errorf("%s must be at least 1 s, not %s", path, d)
	}
	return nil
}

// isPort is for the port to listen on.
func isPort(path string, n int) error {
	if !validPort(n) {
		return fmt.Errorf("%s %d is not between 0 and 65535", path, n)
	}
	return nil
}

// isSubject is for a subject to publish on, or none.
func isSubject(path string, subject string) error {
	if subject != "" && !validSubject(subject) {
		return fmt.Errorf("%s %q is no subject to publish on", path, subject)
	}
	return nil
}
