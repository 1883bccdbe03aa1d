package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// flags are the query parameters of a request. A flag is set if its first value is "true", in any
// case. nil has none set. Parameters that no route knows are ignored.
type flags url.Values

// flagsOf returns nil if there is no query, as in nearly all requests: that costs nothing.
func flagsOf(r *http.Request) flags {
	if r.URL.RawQuery == "" {
		return nil
	}
	return flags(r.URL.Query())
}

// set reports whether a flag is set.
func (f flags) set(name string) bool { return strings.EqualFold(f.value(name), "true") }

// value is the first value of a parameter, "" if there is none.
func (f flags) value(name string) string { return url.Values(f).Get(name) }

// number returns the number in a parameter, which may not be below 0. More than most is most. usual
// is returned without the parameter.
func (f flags) number(name string, usual, most int) (int, error) {
	text := f.value(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %s %.32q is not a number", errNumber, name, text)
	}
	return min(n, most), nil
}

// asText reports whether a JWT is to be shown to people, verified or not.
func (f flags) asText() bool { return f.set("text") || f.set("decode") }
