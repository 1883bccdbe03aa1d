package natsconn_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
)

// run calls natsconn.Run in the background. It returns the log and a function that stops Run.
func run(
	t *testing.T, o natsconn.Options, use func(context.Context, *nats.Conn),
) (*natstest.Log, func()) {
	t.Helper()
	out := &natstest.Log{}
	o.Log = slog.New(loggingtest.New(out, logging.Format{}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); natsconn.Run(ctx, o, use) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return out, stop
}

func untilDone(ctx context.Context, _ *nats.Conn) { <-ctx.Done() }

func TestItDialsAgainForEverAndTellsAsTheOriginal(t *testing.T) {
	port := natstest.FreePort(t)
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	out, stop := run(t, natsconn.Options{Servers: []string{url}, ConnectTimeout: time.Second,
		ReconnectWait: 50 * time.Millisecond}, untilDone)
	natstest.Eventually(t, "three attempts",
		func() bool { return out.Count("connecting to NATS for notifications") >= 3 })
	for _, want := range []string{
		"[ERR] failed to connect to NATS [" + url + "]: nats: no servers available for connection",
		"[ERR] will try to connect again in 50 milliseconds",
	} {
		if out.Count(want) < 2 {
			t.Errorf("not logged: %s\n%s", want, out)
		}
	}
	s := natstest.Start(t, fmt.Sprintf("listen: 127.0.0.1:%d", port))
	natstest.Eventually(t, "connected", func() bool { return out.Count(connected) == 1 })
	natstest.Stop(s)
	natstest.Eventually(t, "disconnected",
		func() bool { return out.Count("[WRN] nats disconnected") == 1 })
	natstest.Start(t, fmt.Sprintf("listen: 127.0.0.1:%d", port))
	natstest.Eventually(t, "reconnected",
		func() bool { return out.Count("[WRN] nats reconnected") >= 1 })
	stop()
	if out.Count("[INF] disconnected from NATS") != 1 {
		t.Errorf("the stop is not logged:\n%s", out)
	}
}

func TestAnAuthorizationFailureIsNeverTheEnd(t *testing.T) {
	s := natstest.Start(t, natstest.AnyPort+"authorization { user: u, password: right }")
	wrong := strings.Replace(s.ClientURL(), "nats://", "nats://u:wrong@", 1)
	out, _ := run(t, natsconn.Options{Servers: []string{wrong}, ConnectTimeout: time.Second,
		ReconnectWait: 20 * time.Millisecond}, untilDone)
	natstest.Eventually(t, "five attempts",
		func() bool { return out.Count("Authorization Violation") >= 5 })
	if out.Count("nats-server wants credentials") != 1 {
		t.Errorf("the likely cause is not logged once:\n%s", out)
	}
}

func TestNoPasswordIsLogged(t *testing.T) {
	port := natstest.FreePort(t)
	out, _ := run(t, natsconn.Options{
		Servers: []string{fmt.Sprintf("nats://u:secret@127.0.0.1:%d", port),
			fmt.Sprintf("nats://token@127.0.0.1:%d", port)},
		ConnectTimeout: time.Second, ReconnectWait: 20 * time.Millisecond,
	}, untilDone)
	natstest.Eventually(t, "an attempt", func() bool { return out.Count("will try") > 1 })
	if strings.Contains(out.String(), "secret") || strings.Contains(out.String(), "token@") {
		t.Errorf("logged: %s", out)
	}
}

func TestRefusedCredentialsAreExplained(t *testing.T) {
	op := jwttest.NewOperator(t)
	s := natstest.Start(t, natstest.MemoryConf(t, op, natstest.AnyPort))
	stranger := jwttest.NewAccount(t)
	creds, _ := stranger.User(t)
	path := jwttest.File(t, t.TempDir(), "x.creds", creds)
	out, _ := run(t, natsconn.Options{Servers: []string{s.ClientURL()}, Credentials: path,
		ConnectTimeout: time.Second, ReconnectWait: 20 * time.Millisecond}, untilDone)
	natstest.Eventually(t, "explained",
		func() bool { return out.Count("refused the credentials in "+path) == 1 })
}

func TestAStopDoesNotWaitForASilentPort(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := silent.Accept(); err == nil {
			accepted <- c
		}
	}()
	_, stop := run(t, natsconn.Options{Servers: []string{"nats://" + silent.Addr().String()},
		ConnectTimeout: time.Hour, ReconnectWait: time.Hour}, untilDone)
	c := <-accepted
	defer c.Close()
	began := time.Now()
	stop()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the stop took %s", d)
	}
}

// neverDials are options with credentials that can't be read, so that no attempt dials.
func neverDials(out *natstest.Log) natsconn.Options {
	return natsconn.Options{
		Servers: []string{"nats://127.0.0.1:1"}, Credentials: "/nonexistent/creds",
		ConnectTimeout: time.Second, ReconnectWait: time.Second,
		Log: slog.New(loggingtest.New(out, logging.Format{})),
	}
}

func TestThereIsNoBusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &natstest.Log{}
		ctx, cancel := context.WithCancel(context.Background())
		go natsconn.Run(ctx, neverDials(out), untilDone)
		time.Sleep(66 * time.Second) // of the bubble's clock
		cancel()
		synctest.Wait()
		count := regexp.MustCompile(`\((\d+) attempts since `).FindStringSubmatch(out.String())
		if count == nil {
			t.Fatalf("no count:\n%s", out)
		}
		if n, _ := strconv.Atoi(count[1]); n < 50 || n > 66 {
			t.Errorf("%d attempts in about a minute, one a second is wanted", n)
		}
	})
}

// An hour without NATS is 3600 attempts.
func TestNATSThatIsAwayIsLoggedAsTheOriginalDoesAndThenOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &natstest.Log{}
		ctx, cancel := context.WithCancel(context.Background())
		go natsconn.Run(ctx, neverDials(out), untilDone)
		time.Sleep(4500 * time.Millisecond) // of the bubble's clock, as all times here
		const failed = "[ERR] failed to connect to NATS [nats://127.0.0.1:1]: "
		for _, line := range []string{"[INF] connecting to NATS for notifications", failed,
			"[ERR] will try to connect again in 1000 milliseconds"} {
			if n := out.Count(line); n < 4 {
				t.Errorf("%d times at first: %s", n, line)
			}
		}
		time.Sleep(time.Minute)
		before := strings.Count(out.String(), "\n")
		time.Sleep(time.Hour)
		cancel()
		synctest.Wait()
		if n := strings.Count(out.String(), "\n") - before; n < 58 || n > 61 {
			t.Errorf("%d lines in an hour, one a minute is wanted:\n%s", n, out)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, failed) ||
			!regexp.MustCompile(`\(3[3-7]\d\d attempts since [-\dT:]+Z\)$`).MatchString(last) {
			t.Errorf("the last line is %s", last)
		}
	})
}

func TestTheRestOfTheClusterIsDialledWhenTheConfiguredServerIsGone(t *testing.T) {
	first := natstest.Start(t,
		natstest.AnyPort+
			`server_name: a, cluster { name: c, listen: "127.0.0.1:-1", pool_size: -1 }`)
	second := natstest.Start(t, natstest.AnyPort+fmt.Sprintf(
		`server_name: b, cluster { name: c, listen: "127.0.0.1:-1", pool_size: -1, routes: `+
			`["nats-route://127.0.0.1:%d"] }`, first.ClusterAddr().Port))
	natstest.Eventually(t, "the cluster is formed", func() bool {
		return first.NumRoutes() > 0 && second.NumRoutes() > 0
	})
	names := make(chan string, 10)
	run(t, natsconn.Options{Servers: []string{first.ClientURL()}, ConnectTimeout: time.Second,
		ReconnectWait: 20 * time.Millisecond},
		func(ctx context.Context, nc *nats.Conn) {
			names <- nc.ConnectedServerName()
			<-ctx.Done()
		})
	if name := <-names; name != "a" {
		t.Fatalf("connected to %s", name)
	}
	natstest.Stop(first)
	if name := <-names; name != "b" {
		t.Errorf("connected to %s", name)
	}
}
