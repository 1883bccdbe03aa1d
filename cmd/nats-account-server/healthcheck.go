package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/config"
)

// healthTimeout is how long the server may take. Docker gives a check 30 s.
const healthTimeout = 5 * time.Second

// healthcheck asks a server whether it lives, for containers without a shell. The argument is its
// URL; or flags of the program say where it listens. The exit code is 0 if it answers with 200. 2
// is a wrong flag and 1 anything else. The server is asked once: the container runtime repeats it.
func healthcheck(args []string) int {
	target := ""
	if len(args) == 1 && !strings.HasPrefix(args[0], "-") {
		target, args = args[0], nil
	}
	// What is wrong with a flag is written already.
	f, err := config.ParseFlags(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case target == "":
		target, err = configuredURL(f)
	default:
		target, err = healthURL(target)
	}
	if err == nil {
		err = askHealth(target)
	}
	if err != nil {
		report(err.Error())
		return 1
	}
	fmt.Printf("%s: ok\n", target)
	return 0
}

// healthURL returns the URL to ask for a given one. One without a path asks /healthz. A URL with a
// path is asked as it is, such as /readyz.
func healthURL(given string) (string, error) {
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("%q is no URL, such as http://localhost:9090", given)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/healthz"
	}
	return u.String(), nil
}

// configuredURL returns the URL of the server on this machine that has such flags. It is https if a
// certificate is configured. The address that the server listens on is asked, and a loopback
// address if it listens on all.
func configuredURL(f config.Flags) (string, error) {
	loaded, _, err := config.Load(f)
	if err != nil {
		return "", err
	}
	c := loaded.HTTP
	if c.Port == 0 {
		return "", errors.New(
			"the configured port is 0, so the server can't be found: give its URL")
	}
	scheme, host := "http", cmp.Or(c.Host, "127.0.0.1")
	if c.TLS.Cert != "" {
		scheme = "https"
	}
	// A server on every interface is on this one too.
	switch ip := net.ParseIP(host); {
	case ip != nil && ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip != nil && ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(c.Port)) + "/healthz", nil
}

// askHealth returns nil if a server answers with 200, or lives and wants a certificate first. Any
// other status is an error, as is a server that does not answer within healthTimeout. Redirects are
// followed, as http.Client does.
func askHealth(target string) error {
	client := &http.Client{
		Timeout: healthTimeout,
		Transport: &http.Transport{
			// The certificate is seldom for this name, and nothing secret is sent or believed.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			Proxy:           nil, // the server is on this machine
		},
	}
	answer, err := client.Get(target)
	switch {
	// This refusal comes from a server that lives: it wants a client certificate.
	case err != nil && strings.Contains(err.Error(), "tls: certificate required"):
		return nil
	case err != nil:
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", target, answer.Status)
	}
	return nil
}
