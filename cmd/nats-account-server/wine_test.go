package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// wineEnv names the program that runs programs for Windows: make windows sets it.
const wineEnv = "WINE"

// TestTheMainJobOnWindows runs the program for Windows beside a real nats-server: JWTs are pushed,
// the nats-server acknowledges them, and they outlive the process, which is killed.
func TestTheMainJobOnWindows(t *testing.T) {
	wine := os.Getenv(wineEnv)
	if wine == "" {
		jwttest.Lacks(t, "wine", "make windows runs this test")
	}
	program := filepath.Join(t.TempDir(), "nats-account-server.exe")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "GOOS=windows", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	natsPort, port := freePort(t), freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", natsPort),
		fmt.Sprintf("http { port: %d }", port))
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	stored := map[string]string{} // URL -> JWT
	for round := range 3 {
		p := startOther(t, wine, s.dir, nil, program, "-c", s.conf)
		p.url()
		if round == 0 {
			natstest.Start(t, natstest.URLConf(t, s.op, url+"/jwt/v1/accounts/",
				fmt.Sprintf("listen: 127.0.0.1:%d\n", natsPort)))
		}
		p.wait("connected to NATS for account and activation notifications")
		for path, want := range stored {
			if status, body := get(t, path); status != http.StatusOK || body != want {
				t.Errorf("after a kill: %d %.80q", status, body)
			}
		}
		a := jwttest.NewAccount(t)
		path := url + "/jwt/v1/accounts/" + a.ID
		for n := range 3 {
			token := jwttest.Sign(t, s.op.Signing, a,
				time.Now().Add(time.Duration(n-5)*time.Minute))
			if status, body := post(http.DefaultClient, path, token); status != http.StatusOK {
				t.Fatalf("a push: %d %s", status, body)
			}
			stored[path] = string(token)
		}
		if round == 1 { // the kill comes after the files were written, and before in the other rounds
			file := filepath.Join(s.dir, "store", a.ID[54:], a.ID+".jwt")
			natstest.Eventually(t, "the file is written", func() bool {
				content, err := os.ReadFile(file)
				return err == nil && string(content) == stored[path]
			})
		}
		p.kill()
	}
}
