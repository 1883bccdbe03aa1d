package main_test

import (
	"os/exec"
	"strings"
	"testing"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/config"
	"nats-account-server/internal/jwttest"
)

// output runs the program and returns its standard output.
func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(binary, args...).Output()
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return string(out)
}

// tool runs another program, or skips the test if that is not there.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestHealthcheckAsksTheConfiguredServer(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), certtest.New(t)
	cert, key := ca.Issue(t).Write(t, dir, "http")
	root := ca.Write(t, dir, "root")
	withTLS := `, tls { cert: "` + cert + `", key: "` + key + `"`
	for name, http := range map[string]string{
		"plain":                        ``,
		"every interface":              `, host: ""`,
		"TLS":                          withTLS + " }",
		"TLS with client certificates": withTLS + `, root: "` + root + `", verify: require }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := conf(t, dir, "http { host: 127.0.0.1, port: %d%s }", freePort(t), http)
			runs(t, binary, dir, 1, "connection refused", "healthcheck", "-c", file)
			p := start(t, dir, nil, "-c", file)
			p.wait("nats-account-server is running")
			runs(t, binary, dir, 0, "/healthz: ok\n", "healthcheck", "-c", file)
		})
	}
	p := start(t, dir, nil, "-hp", "127.0.0.1:0")
	url := p.url()
	runs(t, binary, dir, 0, url+"/healthz: ok\n", "healthcheck", url)
	address := strings.TrimPrefix(url, "http://")
	runs(t, binary, dir, 0, url+"/healthz: ok\n", "healthcheck", "-hp", address)
	runs(t, binary, dir, 1, url+"/nothing: 404 Not Found", "healthcheck", url+"/nothing")
	runs(t, binary, dir, 1, `"x" is no URL, such as http://localhost:9090`, "healthcheck", "x")
	runs(t, binary, dir, 1, "the configured port is 0", "healthcheck", "-p", "0")
	runs(t, binary, dir, 2, "flag provided but not defined: -bogus", "healthcheck", "-bogus")
	runs(t, binary, dir, 1, "error reading configuration file", "healthcheck", "-c", "none.conf")
}

func TestBashCompletes(t *testing.T) {
	t.Parallel()
	script := jwttest.File(t, t.TempDir(), "completion", []byte(output(t, "completion", "bash")))
	for typed, want := range map[string]string{
		"--si":                         "--signal",
		"":                             "completion",
		"-c x --signal re":             "reload reopen",
		"completion z":                 "zsh",
		"-c " + script[:len(script)-4]: script,
		"-hp ":                         "",
		"help mon":                     "monitoring",
	} {
		words := "nats-account-server " + typed
		got := tool(t, "bash", "-c", "source "+script+"; COMP_WORDS=("+words+
			`); [[ "`+typed+`" == *" " || -z "`+typed+`" ]] && COMP_WORDS+=(""); `+
			`COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _nats_account_server; echo "${COMPREPLY[*]}"`)
		if !strings.Contains(got, want) || want == "" && strings.TrimSpace(got) != "" {
			t.Errorf("%q gives %q, want %q", typed, got, want)
		}
	}
}

func TestZshTakesItsCompletion(t *testing.T) {
	t.Parallel()
	tool(t, "zsh", "-n", jwttest.File(t, t.TempDir(), "_x", []byte(output(t, "completion", "zsh"))))
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	script := jwttest.File(t, t.TempDir(), "x.fish", []byte(output(t, "completion", "fish")))
	for typed, want := range map[string]string{
		"--si": "--signal", "-oper": "-operator", "--signal re": "reload", "heal": "healthcheck",
		"help mon": "monitoring",
	} {
		got := tool(t, "fish", "--no-config", "-c", "source "+script+
			"; complete -C 'nats-account-server "+typed+"'")
		if !strings.Contains(got, want) {
			t.Errorf("%q gives %q, want %q", typed, got, want)
		}
	}
}

// Each flag is in what is made from the flags.
func TestEveryFlagIsCompletedAndInTheManual(t *testing.T) {
	t.Parallel()
	bash, zsh := output(t, "completion", "bash"), output(t, "completion", "zsh")
	fish, page := output(t, "completion", "fish"), output(t, "man")
	for _, f := range config.AllFlags() {
		for _, name := range f.Names {
			bare := strings.TrimLeft(name, "-")
			if !strings.Contains(bash, name) || !strings.Contains(zsh, name) ||
				!strings.Contains(fish, " "+bare+" ") ||
				!strings.Contains(page, strings.ReplaceAll(name, "-", `\-`)) {
				t.Errorf("%s is missing", name)
			}
		}
	}
	runs(t, binary, t.TempDir(), 2, "completion is for bash, zsh or fish", "completion", "tcsh")
}

func TestTheManualPageHasNoMistake(t *testing.T) {
	t.Parallel()
	page := jwttest.File(t, t.TempDir(), "x.1", []byte(output(t, "man")))
	if got := tool(t, "mandoc", "-T", "lint", "-W", "warning", page); got != "" {
		t.Error(got)
	}
	got := tool(t, "mandoc", "-T", "ascii", page)
	if !strings.Contains(got, "-\b--\b-s\bsi\big\bgn\bna\bal\bl") { // in bold
		t.Errorf("%q", got)
	}
}

func TestHelpShowsTheManual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs(t, binary, dir, 0, "operating        An operator's day", "help")
	runs(t, binary, dir, 0, "Configuration\n=====", "help", "configuration")
	runs(t, binary, dir, 0, "help configuration: ", "help", "http.readtimeout")
	runs(t, binary, dir, 1, `the manual has nothing about "qqqqq"`, "help", "qqqqq")
}
