package browsertest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// Browser is a running browser.
type Browser struct {
	pipe *pipe
}

// Start starts a browser until the test ends. Without Chromium the test is skipped.
func Start(t testing.TB) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		jwttest.Lacks(t, "chromium", err)
	}
	// Without a sandbox, since tests in containers run as root. No page comes from elsewhere.
	c := exec.Command(program, "--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--disable-breakpad", "--user-data-dir="+t.TempDir(), "about:blank")
	c.Env = append(os.Environ(), "HOME="+t.TempDir(), "LANG=en_US.UTF-8")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	theirs, commands, err := os.Pipe()
	check(t, err)
	answers, theirAnswers, err := os.Pipe()
	check(t, err)
	c.ExtraFiles = []*os.File{theirs, theirAnswers}
	check(t, c.Start())
	_, _ = theirs.Close(), theirAnswers.Close()
	b := &Browser{newPipe(commands, answers)}
	t.Cleanup(func() {
		_ = b.pipe.call("", "Browser.close", struct{}{}, nil)
		// Some of its processes may outlive the first one.
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
		_, _ = commands.Close(), answers.Close()
	})
	return b
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// View is how a page is seen.
type View struct {
	Width, Height int
	IsDark        bool
	NoScript      bool
}

// Tab is one page of a browser. It is used by one test.
type Tab struct {
	t       testing.TB
	pipe    *pipe
	session string

	mu     sync.Mutex // guards faults
	faults []string
}

// Open opens a page until the test ends.
func (b *Browser) Open(t testing.TB, v View) *Tab {
	t.Helper()
	var target struct{ TargetID, SessionID string }
	check(t, b.pipe.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	check(t, b.pipe.call("", "Target.attachToTarget",
		map[string]any{"targetId": target.TargetID, "flatten": true}, &target))
	tab := &Tab{t: t, pipe: b.pipe, session: target.SessionID}
	b.pipe.hear(tab.session, tab.hear)
	t.Cleanup(func() {
		_ = b.pipe.call("", "Target.closeTarget", map[string]any{"targetId": target.TargetID}, nil)
	})
	for _, domain := range []string{"Page", "Runtime", "Log", "DOM"} {
		tab.do(domain+".enable", struct{}{}, nil)
	}
	scheme := "light"
	if v.IsDark {
		scheme = "dark"
	}
	tab.do("Emulation.setEmulatedMedia", map[string]any{"features": []any{
		map[string]any{"name": "prefers-color-scheme", "value": scheme},
		map[string]any{"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
	tab.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width,
		"height": cmp.Or(v.Height, 900), "deviceScaleFactor": 1, "mobile": v.Width < 720}, nil)
	tab.do("Emulation.setScriptExecutionDisabled", map[string]any{"value": v.NoScript}, nil)
	return tab
}

// hear keeps what a page should not do.
func (t *Tab) hear(m message) {
	var p struct {
		Type  string
		Entry struct{ Level, Text, URL string }
		Args  []struct {
			Value       any
			Description string
		}
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	_ = json.Unmarshal(m.Params, &p)
	switch {
	case m.Method == "Runtime.exceptionThrown":
		t.fault(p.ExceptionDetails.Text + " " + p.ExceptionDetails.Exception.Description)
	case m.Method == "Runtime.consoleAPICalled" && (p.Type == "error" || p.Type == "warning"):
		t.fault(fmt.Sprint(p.Args))
	case m.Method == "Log.entryAdded" && (p.Entry.Level == "error" || p.Entry.Level == "warning"):
		t.fault(p.Entry.Text + " " + p.Entry.URL)
	}
}

func (t *Tab) fault(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, text)
}

// Faults returns what the browser has complained of since the last call: errors and warnings on its console,
// such as those about a violated Content-Security-Policy.
func (t *Tab) Faults() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() { t.faults = nil }()
	return t.faults
}

// do sends a command.
func (t *Tab) do(method string, params, result any) {
	t.t.Helper()
	check(t.t, t.pipe.call(t.session, method, params, result))
}

// Go opens a URL and waits until the page is there.
func (t *Tab) Go(url string) {
	t.t.Helper()
	var answer struct{ ErrorText string }
	t.do("Page.navigate", map[string]any{"url": url}, &answer)
	if answer.ErrorText != "" {
		t.t.Fatalf("%s: %s", url, answer.ErrorText)
	}
	t.Wait(`document.readyState === "complete" && location.href !== "about:blank"`)
}

// Eval returns the value of an expression in JavaScript, which may be a promise. A value that is no text is
// in JSON.
func (t *Tab) Eval(expression string) string {
	t.t.Helper()
	text, err := t.eval(expression)
	check(t.t, err)
	return text
}

func (t *Tab) eval(expression string) (string, error) {
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	err := t.pipe.call(t.session, "Runtime.evaluate", map[string]any{"expression": expression,
		"returnByValue": true, "awaitPromise": true, "userGesture": true}, &answer)
	if err == nil && answer.ExceptionDetails != nil {
		err = fmt.Errorf("%s: %s", expression, answer.ExceptionDetails.Exception.Description)
	}
	var text string
	if json.Unmarshal(answer.Result.Value, &text) != nil {
		text = string(answer.Result.Value)
	}
	return text, err
}

// Wait waits until an expression is true, also over the change to another page.
func (t *Tab) Wait(expression string) {
	t.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var text string
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if text, err = t.eval("Boolean(" + expression + ")"); err == nil && text == "true" {
			return
		}
	}
	state, _ := t.eval(`location.href + "\n" + document.body.innerText`)
	t.t.Fatalf("still not: %s (%v), at %s", expression, err, state)
}

// Click clicks on the middle of the first element that a selector finds.
func (t *Tab) Click(selector string) {
	t.t.Helper()
	quoted, _ := json.Marshal(selector)
	t.Wait(`document.querySelector(` + string(quoted) + `)`)
	var at struct{ X, Y float64 }
	text := t.Eval(`(() => { const e = document.querySelector(` + string(quoted) + `);
		e.scrollIntoView({ block: "center", behavior: "instant" });
		const r = e.getClientRects()[0]; return { x: r.x + r.width / 2, y: r.y + r.height / 2 }; })()`)
	check(t.t, json.Unmarshal([]byte(text), &at))
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		t.do("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left",
			"clickCount": 1}, nil)
	}
}

// keyCodes are the numbers of keys that write nothing.
var keyCodes = map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}

// Press presses a key: "Tab", "Shift+Tab", "Enter" or "Escape".
func (t *Tab) Press(key string) {
	t.t.Helper()
	name, isShifted := strings.CutPrefix(key, "Shift+")
	event := map[string]any{"key": name, "code": name, "windowsVirtualKeyCode": keyCodes[name]}
	if isShifted {
		event["modifiers"] = 8
	}
	if name == "Enter" {
		event["text"] = "\r"
	}
	for _, kind := range []string{"keyDown", "keyUp"} {
		event["type"] = kind
		t.do("Input.dispatchKeyEvent", event, nil)
	}
}

// Type types a text into what has the focus.
func (t *Tab) Type(text string) {
	t.t.Helper()
	t.do("Input.insertText", map[string]any{"text": text}, nil)
}

// Screenshot writes a picture of the whole page into a file.
func (t *Tab) Screenshot(path string) {
	t.t.Helper()
	var picture struct{ Data string }
	t.do("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &picture)
	data, err := base64.StdEncoding.DecodeString(picture.Data)
	check(t.t, err)
	check(t.t, os.WriteFile(path, data, 0o600))
}
