package config

import (
	"errors"
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

	"nats-account-server/internal/logging"
	"nats-account-server/internal/natsconf"
)

// The functions in this file parse the value of a key. Their errors have the original's text where
// the original has one. name is the key as its row has it, which these texts show. value is what
// natsconf has read: a string, bool, int64, float64, time.Time, *natsconf.Map or []natsconf.Value.
// The zero value comes with each error.

// parseBool parses a boolean, or a text for one. The original takes every text but "true" for
// false; here a text that is not for a boolean is a mistake. A number is none.
func parseBool(name string, value any) (bool, error) {
	switch v := value.(type) {
	// A boolean without quotes has been read by natsconf, in any of its spellings.
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
	return false, badValue(name, value, ", it must be true or false")
}

// parseColors parses a boolean. Only a key that is not there leaves the choice to the terminal.
func parseColors(name string, value any) (logging.Colors, error) {
	always, err := parseBool(name, value)
	if always {
		return logging.ColorsAlways, nil
	}
	return logging.ColorsNever, err
}

// parseEncoding parses the form of log lines, in any letter case.
func parseEncoding(name string, value any) (logging.Encoding, error) {
	return parseWord(name, value, "text or json",
		map[string]logging.Encoding{"text": logging.Text, "json": logging.JSON})
}

// parseWord parses one of some words, in any letter case. choice names them in errors.
func parseWord[T any](name string, value any, choice string, words map[string]T) (T, error) {
	text, _ := value.(string)
	if found, ok := words[strings.ToLower(text)]; ok {
		return found, nil
	}
	var none T
	return none, badValue(name, value, ", it must be "+choice)
}

// parseCount parses an integer that is not negative.
func parseCount(name string, value any) (int, error) {
	n, err := parseInt(name, value)
	if err == nil && n < 0 {
		return 0, badValue(name, value, ", it must not be negative")
	}
	return n, err
}

// parseVerify parses a boolean, or the word require in any letter case. true means that a
// certificate is verified if the client has one.
func parseVerify(name string, value any) (Verify, error) {
	if s, ok := value.(string); ok && strings.EqualFold(s, "require") {
		return VerifyRequire, nil
	}
	// All other words are those of a boolean.
	given, err := parseBool(name, value)
	switch {
	case err != nil:
		return VerifyNone, badValue(name, value, ", it must be true, false or require")
	case given:
		return VerifyGiven, nil
	}
	return VerifyNone, nil
}

// parseClaimChecks parses one of two words, in any letter case.
func parseClaimChecks(name string, value any) (ClaimChecks, error) {
	return parseWord(name, value, "refuse or warn",
		map[string]ClaimChecks{"refuse": ChecksRefuse, "warn": ChecksWarn})
}

// parseKVSync parses one of three words, in any letter case. The language reads off as a boolean.
func parseKVSync(name string, value any) (KVSync, error) {
	if value == false {
		return KVSyncOff, nil
	}
	return parseWord(name, value, "require, warn or off",
		map[string]KVSync{"require": KVSyncRequire, "warn": KVSyncWarn, "off": KVSyncOff})
}

// parseInt parses an integer, or a text for one. A fraction and a boolean are mistakes, as in the
// original. The text may have a sign. It may have no suffix: parseSize is for that.
func parseInt(name string, value any) (int, error) {
	switch v := value.(type) {
	case int64:
		// An int has 32 bits on some systems.
		if n := int(v); int64(n) == v {
			return n, nil
		}
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("unable to parse integer %v for key %s", show(value), name)
}

// parseSize parses a number of bytes. With a size suffix it may stand in quotes.
func parseSize(name string, value any) (int, error) {
	given := value
	if text, ok := value.(string); ok {
		// The text is parsed as a value of the language, so that "32MiB" means what 32MiB without
		// quotes means.
		m, err := natsconf.Parse(name, "size: "+text)
		if err == nil && len(m.Entries) == 1 {
			// A text with more than one entry is no size: parseInt refuses it as it is.
			given = m.Entries[0].Value.Data
		}
	}
	n, err := parseInt(name, given)
	if err != nil || n < 0 {
		return 0, badValue(name, value, ", it must be a number of bytes, or a size such as 32MiB")
	}
	return n, nil
}

// parseDuration parses a number of milliseconds, as the original does, or a text with a unit.
// Examples: 5000, "5000" and "5s" are the same. A negative duration is no error here: the checks of
// a row refuse it.
func parseDuration(name string, value any) (time.Duration, error) {
	if s, ok := value.(string); ok {
		if d, err := time.ParseDuration(s); err == nil {
			return d, nil
		}
	}
	// A text without a unit is milliseconds too.
	n, err := parseInt(name, value)
	if err != nil {
		return 0, fmt.Errorf("%w: give milliseconds, or a duration such as \"5s\"", err)
	}
	// The division finds an overflow of the multiplication.
	d := time.Duration(n) * time.Millisecond
	if d/time.Millisecond != time.Duration(n) {
		return 0, fmt.Errorf("unable to parse integer %d for key %s: it is too large", n, name)
	}
	return d, nil
}

// parseText parses a text. A number is no text, even if it was meant as one. The text is returned
// as it is, with its spaces.
func parseText(name string, value any) (string, error) {
	if s, ok := value.(string); ok {
		return s, nil
	}
	return "", badValue(name, value, "")
}

// parsePath parses a path and makes it absolute. The empty path is valid and stays empty. It does
// not check that there is such a file.
func parsePath(name string, value any) (string, error) {
	s, err := parseText(name, value)
	if err != nil {
		return "", err
	}
	return absolute(s)
}

// parseURLs parses a list of NATS URLs, or one URL. An empty list is valid. As in the original, one
// text may hold several, separated by commas. The result is nil for an empty list, and the order is
// that of the file.
func parseURLs(name string, value any) (all []string, err error) {
	// The two texts are the original's, with its spelling.
	list, ok := value.([]natsconf.Value)
	if _, single := value.(string); single {
		list = []natsconf.Value{{Data: value}}
	} else if !ok {
		return nil, badValue(name, value, ", single element is not convertable")
	}
	for _, v := range list {
		text, ok := v.Data.(string)
		if !ok {
			return nil, badValue(name, value, ", contents are not convertable")
		}
		// An empty text between two commas is a mistake, since it is no URL.
		for url := range strings.SplitSeq(text, ",") {
			url = strings.TrimSpace(url)
			if err := checkURL(url); err != nil {
				return nil, fmt.Errorf("error parsing %s option: %w", name, err)
			}
			all = append(all, url)
		}
	}
	return all, nil
}

// checkURL returns an error for a URL that the NATS client can't dial. The error does not show the
// URL, which may contain a password. The host must be there; the port may be missing.
func checkURL(s string) error {
	// Like the NATS client, accept a URL without a scheme.
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		// The error of url.Parse would show the URL.
		return errors.New("one of the URLs can't be read: it must be like nats://host:4222")
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return fmt.Errorf("the URL scheme %q is not one of nats, tls, ws and wss", u.Scheme)
	case u.Port() == "":
		return nil
	}
	if n, err := strconv.Atoi(u.Port()); err != nil || !validPort(n) {
		return fmt.Errorf("port %s is not between 0 and 65535", u.Port())
	}
	return nil
}

// validPort reports whether n is a TCP port, or 0 for any free port.
func validPort(n int) bool { return 0 <= n && n <= 65535 }

// parseOperators parses the JWT of one operator, or a list of them. The empty text gives none, but
// a list must not be empty or have an empty text: that was meant to name an operator. The JWTs are
// not compared here: package daemon warns of an operator that is given twice.
func parseOperators(name string, value any) (all []JWTRef, err error) {
	list, isList := value.([]natsconf.Value)
	if !isList {
		list = []natsconf.Value{{Data: value}}
	} else if len(list) == 0 {
		return nil, fmt.Errorf("error parsing %s option: the list is empty", name)
	}
	for _, v := range list {
		ref, err := parseJWT(name, v.Data, false)
		switch {
		case err != nil:
			return nil, err
		case ref != JWTRef{}:
			all = append(all, ref)
		case isList:
			return nil,
				fmt.Errorf("error parsing %s option: an operator in the list is empty", name)
		}
	}
	return all, nil
}

// parseSystem parses the system account. It accepts a list of one element. An operator can't be
// given by its key, because its JWT has the signing keys.
func parseSystem(name string, value any) (JWTRef, error) {
	if list, ok := value.([]natsconf.Value); ok {
		if len(list) != 1 {
			return JWTRef{}, fmt.Errorf("error parsing %s option: exactly one is supported", name)
		}
		value = list[0].Data
	}
	return parseJWT(name, value, true)
}

// parseJWT parses a path, a JWT or, if keyAllowed is set, the public key of an account. The empty
// text gives the zero JWTRef. Nothing is read or verified here.
func parseJWT(name string, value any, keyAllowed bool) (JWTRef, error) {
	s, err := parseText(name, value)
	switch {
	case err != nil || s == "":
		return JWTRef{}, err
	case strings.HasPrefix(s, "eyJ"): // every JWT begins like this
		return JWTRef{Token: s}, nil
	case keyAllowed && nkeys.IsValidPublicAccountKey(s):
		return JWTRef{Key: s}, nil
	}
	p, err := absolute(s)
	return JWTRef{Path: p}, err
}

// absolute expands a leading ~ to the home directory and makes a path absolute. A relative path is
// relative to the working directory. The empty path stays empty. The ~ of another user, as in
// ~name, is not expanded.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		// The path is "~" or begins with "~/", so what is left is empty or begins with a slash.
		path = filepath.Join(home, path[1:])
	}
	return filepath.Abs(path)
}

// badValue is the error for a value of another kind than the key has. rule begins with a comma, or
// is "". Example: "error parsing Format option 7, it must be text or json".
func badValue(name string, value any, rule string) error {
	return fmt.Errorf("error parsing %s option %v%s", name, show(value), rule)
}

// secrets matches what is probably a password in the text of a value: in a URL all before the last
// @, in a map the rest of the map from the name of such a key on.
var secrets = regexp.MustCompile(`(?is).*@|((?:pass|token|secret|seed)[^:]*:)[^\]]*`)

// show returns a value as the original's error messages show it, but without passwords. Errors are
// in the log, which more people can read than the configuration file. It may cut more than the
// password.
func show(value any) string { return secrets.ReplaceAllString(fmt.Sprint(value), "$1…") }
