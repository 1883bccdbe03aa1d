package natsconf_test

import (
	"fmt"
	"reflect"

	"github.com/nats-io/nats-server/v2/conf"

	"nats-account-server/internal/natsconf"
)

// The parser of nats-server says what a text means: what it accepts, means the same here. Where we differ on
// purpose, differences says why.

// tree gives the map as the oracle does: the last of doubled keys wins.
func tree(m *natsconf.Map) map[string]any {
	out := make(map[string]any)
	for _, e := range m.Entries {
		out[e.Key] = plain(e.Value.Data)
	}
	return out
}

func plain(data any) any {
	switch d := data.(type) {
	case *natsconf.Map:
		return tree(d)
	case []natsconf.Value:
		out := make([]any, len(d))
		for i, v := range d {
			out[i] = plain(v.Data)
		}
		return out
	}
	return data
}

// oracle parses as nats-server does. A panic of it counts as a refusal.
func oracle(text string) (m map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	return conf.Parse(text)
}

// agree reports how the two parsers differ about a text, or "".
func agree(text string) string {
	want, refused := oracle(text)
	m, err := natsconf.Parse("", text)
	switch {
	case err != nil && refused != nil:
		return ""
	case err != nil:
		return fmt.Sprintf("refused: %v\nthe oracle accepts: %#v", err, want)
	case refused != nil:
		return fmt.Sprintf("accepted: %#v\nthe oracle refuses: %v", tree(m), refused)
	}
	if got := tree(m); !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("got:  %#v\nwant: %#v", got, want)
	}
	return ""
}
