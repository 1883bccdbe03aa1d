package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// oldNATS are the nats-servers that the program must get on with beside the current one, each the
// last of its line, and how to come by their binaries.
var oldNATS = builders("v2.9.25", "v2.10.29")

func builders(versions ...string) map[string]func() (string, error) {
	all := map[string]func() (string, error){}
	for _, v := range versions {
		all[v] = sync.OnceValues(func() (string, error) { return buildNATS(v) })
	}
	return all
}

// wantOldNATS begins to build what is not built yet, while other tests run.
func wantOldNATS(t *testing.T) {
	if testing.Short() {
		return
	}
	var builds sync.WaitGroup
	for _, build := range oldNATS {
		builds.Go(func() { _, _ = build() })
	}
	t.Cleanup(builds.Wait)
}

// oldBinary is the path of a nats-server of the version. The test is skipped where it can't be
// built.
func oldBinary(t *testing.T, version string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: to build other versions of nats-server takes long")
	}
	path, err := oldNATS[version]()
	if err != nil {
		jwttest.Lacks(t, "nats-server "+version, err)
	}
	return path
}

// buildTime bounds a build, downloads and all: without an answer from the network it would wait for
// ever.
const buildTime = 3 * time.Minute

// buildNATS returns the path of a nats-server of the version.
func buildNATS(version string) (string, error) {
	return build("nats-server", "github.com/nats-io/nats-server/v2@"+version, version,
		func(path string) bool {
			out, err := exec.Command(path, "--version").Output()
			return err == nil && strings.TrimSpace(string(out)) == "nats-server: "+version
		})
}

// build returns the path of a program of a package. It is kept in the user's cache directory, so
// that the next run finds it there, if it is good.
func build(program, pkg, version string, good func(path string) bool) (string, error) {
	dir := filepath.Dir(binary) // goes when the tests end
	if cache, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(cache, "nats-account-server-test")
		if err := os.MkdirAll(cache, 0o700); err == nil {
			dir = cache
		}
	}
	kept := filepath.Join(dir, program+"-"+version)
	if good(kept) {
		return kept, nil
	}
	temp, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := install(temp, pkg); err != nil {
		return "", err
	}
	return kept, os.Rename(filepath.Join(temp, program), kept) // whole, or not at all
}

// install builds into dir, outside this module and with the Go that runs the tests. The package that takes
// longest to compile is compiled without optimization.
func install(dir, pkg string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "install",
		"-gcflags=github.com/nats-io/nats-server/v2/server=-N -l", pkg)
	build.Dir = dir
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOTOOLCHAIN=local",
		"GOFLAGS=-mod=mod -trimpath", "GOWORK=off")
	build.WaitDelay = time.Second
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out[max(0, len(out)-500):])
	}
	return nil
}

// startNATS runs a nats-server on the configuration text and returns when it is ready.
func startNATS(t testing.TB, program, conf string) *process {
	t.Helper()
	dir := t.TempDir()
	p := startOther(t, program, dir, nil, "-c",
		jwttest.File(t, dir, "nats-server.conf", []byte(conf)))
	p.wait("Server is ready")
	return p
}

// resolvers are the kinds of resolvers that a nats-server can have: its configuration where the
// account server is at url, the nats-server's own directory is dir, and preload is its preloaded
// accounts.
var resolvers = map[string]func(url, dir, preload string) string{
	"URL": func(url, _, _ string) string {
		return fmt.Sprintf("resolver: URL(%s/jwt/v1/accounts/)\n", url)
	},
	"MEMORY": func(_, _, preload string) string { return "resolver: MEMORY\n" + preload },
	"full": func(_, dir, preload string) string {
		return fmt.Sprintf("resolver { type: full, dir: %q }\n%s", dir, preload)
	},
	"cache": func(_, dir, preload string) string {
		return fmt.Sprintf("resolver { type: cache, dir: %q, ttl: 1h }\n%s", dir, preload)
	},
}

// resolverConf is the configuration of a nats-server of the operator that is named n1 and listens
// on the port.
func resolverConf(t testing.TB, op *jwttest.Operator, kind, url, dir string, port int,
	known map[string][]byte) string {
	t.Helper()
	preload := "resolver_preload {\n"
	for id, token := range known {
		preload += fmt.Sprintf("  %s: %s\n", id, token)
	}
	return fmt.Sprintf("server_name: n1\nlisten: 127.0.0.1:%d\noperator: "+
		"%s\nsystem_account: %s\n%s",
		port, op.Token(t), op.System.ID, resolvers[kind](url, dir, preload+"}\n"))
}
