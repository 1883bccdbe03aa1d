package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/natsconf"
)

// read puts a value from the file where it belongs. The error texts are the original's where it has one.
func (k *key) read(value any, into any) (err error) {
	switch p := into.(type) {
	case *bool:
		*p, err = k.bool(value)
	case *int:
		*p, err = k.int(value)
	case *time.Duration:
		*p, err = k.duration(value)
	case *string:
		if *p, err = k.text(value); err == nil && k.kind == path {
			*p, err = absolute(*p)
		}
	case *[]string:
		*p, err = k.urls(value)
	case *JWTRef:
		*p, err = k.jwt(value)
	case *Verify:
		*p, err = k.verify(value)
	}
	return err
}

// isDefault says whether a value is what holds anyway. The error says that it is no value for this key.
func (k *key) isDefault(value any) (bool, error) {
	switch k.kind {
	case boolean:
		v, err := k.bool(value)
		return strconv.FormatBool(v) == k.def, err
	case integer:
		v, err := k.int(value)
		return strconv.Itoa(v) == k.def, err
	case duration:
		v, err := k.duration(value)
		d, _ := k.duration(k.def)
		return v == d, err
	default:
		v, err := k.text(value)
		return v == k.def, err
	}
}

// bool takes a boolean, or a text that says one. The original took every text but "true" for false.
func (k *key) bool(value any) (bool, error) {
	switch v := value.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
	}
	return false, fmt.Errorf("error parsing %s option %v, it must be true or false", k.name, show(value))
}

func (k *key) int(value any) (int, error) {
	switch v := value.(type) {
	case int64:
		if n := int(v); int64(n) == v {
			return n, nil
		}
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("unable to parse integer %v for key %s", show(value), k.name)
}

// duration takes milliseconds, as the original does, or a text with a unit.
func (k *key) duration(value any) (time.Duration, error) {
	if s, ok := value.(string); ok {
		if d, err := time.ParseDuration(s); err == nil {
			return d, nil
		}
	}
	n, err := k.int(value)
	if err != nil {
		return 0, fmt.Errorf("%w: give milliseconds, or a duration such as \"5s\"", err)
	}
	const most = int64(1<<63-1) / int64(time.Millisecond)
	if int64(n) > most || int64(n) < -most {
		return 0, fmt.Errorf("unable to parse integer %d for key %s: it is too large", n, k.name)
	}
	return time.Duration(n) * time.Millisecond, nil
}

func (k *key) text(value any) (string, error) {
	if s, ok := value.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("error parsing %s option %v", k.name, show(value))
}

// texts takes a list of texts, or one.
func (k *key) texts(value any) ([]string, error) {
	list, ok := value.([]natsconf.Value)
	if !ok {
		if _, ok := value.(string); !ok {
			return nil, fmt.Errorf("error parsing %s option %v, single element is not convertable", k.name, show(value))
		}
		list = []natsconf.Value{{Data: value}}
	}
	var all []string
	for _, v := range list {
		s, ok := v.Data.(string)
		if !ok {
			return nil, fmt.Errorf("error parsing %s option %v, contents are not convertable", k.name, show(value))
		}
		all = append(all, s)
	}
	return all, nil
}

// urls takes NATS URLs. One text may hold several, separated by commas, as the original's client took them.
func (k *key) urls(value any) ([]string, error) {
	texts, err := k.texts(value)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, t := range texts {
		for one := range strings.SplitSeq(t, ",") {
			one = strings.TrimSpace(one)
			if err := checkURL(one); err != nil {
				return nil, fmt.Errorf("error parsing %s option: %w", k.name, err)
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// checkURL refuses what no client can dial. Its error never shows what may be a password.
func checkURL(s string) error {
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("one of the URLs can't be read: it must be like nats://host:4222")
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return fmt.Errorf("the URL scheme %q is not one of nats, tls, ws and wss", u.Scheme)
	case u.Port() == "":
		return nil
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		return err
	}
	return checkPort(n)
}

// jwt takes what names a JWT: a file, the JWT itself or, for the system account, its key. nats-server takes a list
// of operators; a list of one will do here.
func (k *key) jwt(value any) (JWTRef, error) {
	if list, ok := value.([]natsconf.Value); ok {
		if len(list) != 1 {
			return JWTRef{}, fmt.Errorf("error parsing %s option: exactly one is supported", k.name)
		}
		value = list[0].Data
	}
	s, err := k.text(value)
	if err != nil {
		return JWTRef{}, err
	}
	return parseRef(s, k.name != "OperatorJWTPath")
}

func parseRef(s string, keyAllowed bool) (JWTRef, error) {
	switch {
	case s == "":
		return JWTRef{}, nil
	case strings.HasPrefix(s, "eyJ"):
		return JWTRef{Token: s}, nil
	case keyAllowed && nkeys.IsValidPublicAccountKey(s):
		return JWTRef{Key: s}, nil
	}
	p, err := absolute(s)
	return JWTRef{Path: p}, err
}

// show gives a value as the original's messages do, but for what may be a password.
func show(value any) any {
	switch v := value.(type) {
	case []natsconf.Value:
		all := make([]any, len(v))
		for i := range v {
			all[i] = show(v[i].Data)
		}
		return all
	case *natsconf.Map:
		all := map[string]any{}
		for _, e := range v.Entries {
			all[e.Key] = show(e.Value.Data)
			if secret.MatchString(e.Key) {
				all[e.Key] = hidden
			}
		}
		return all
	case string:
		return hideUser(v)
	}
	return value
}

const hidden = "…"

// secret is like the names under which people write passwords.
var secret = regexp.MustCompile(`(?i)pass|token|secret|seed`)

// hideUser hides all that stands before the last @: in a URL that is a user and a password.
func hideUser(s string) string {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return hidden + s[at:]
	}
	return s
}

// expandHome expands ~ and ~/… to the home directory.
func expandHome(path string) (string, error) {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return filepath.Join(home, path[1:]), nil
}
