package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ctrlCTime is how long the account server has to end after an interrupt. A terminal sends that to
// it as well, and a second signal would kill it.
const ctrlCTime = 4 * time.Second

// quick says what `demo run` starts.
type quick struct {
	account  *exec.Cmd // the account server, which is not started yet
	url      string    // of the account server
	natsConf string    // paths of the configuration and the log of the nats-server
	natsLog  string
	hint     string // what the user can do now
}

// quickStart is the quick start of the README.
func quickStart(program string) quick {
	return quick{
		account:  exec.Command(program, "-c", "conf/quickstart.conf"),
		url:      "http://localhost:9090",
		natsConf: "conf/nats-server-quickstart.conf",
		natsLog:  "run/nats-server.log",
		hint: "The quick start in README.md goes on in a second terminal. " +
			"Ctrl-C stops both servers.",
	}
}

// run starts the account server and, unless there is one, a nats-server. It returns when the
// account server has ended, which a signal brings about, and has stopped the nats-server then.
func run(q quick, out io.Writer) error {
	options, err := server.ProcessConfigFile(q.natsConf)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	q.account.Stdout, q.account.Stderr = out, out
	if err := q.account.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		ended <- q.account.Wait()
		cancel() // without the account server, there is nothing to wait for
	}()
	nats, failed := make(chan *server.Server, 1), make(chan error, 1)
	go func() {
		s, err := q.startNATS(ctx, options, out)
		if err != nil {
			failed <- err
		}
		nats <- s
	}()
	err = q.untilEnd(signals, failed, ended)
	stopNATS(<-nats)
	return err
}

// startNATS starts the nats-server, unless another one is there. It returns nil then, and if the
// account server has ended.
func (q *quick) startNATS(
	ctx context.Context, options *server.Options, out io.Writer,
) (*server.Server, error) {
	address := net.JoinHostPort(options.Host, strconv.Itoa(options.Port))
	if answers(address) {
		fmt.Fprintf(out, "\n  Something listens at %s already, so no nats-server is started here."+
			"\n  It must be a nats-server with %s.\n  %s\n\n", address, q.natsConf, q.hint)
		return nil, nil
	}
	// nats-server fetches its system account from the account server when it starts.
	if err := waitFor(ctx, q.url+"/healthz", ""); err != nil {
		return nil, nil // the account server has ended, and says why
	}
	s, err := startNATS(options, q.natsLog)
	if err == nil && waitFor(ctx, q.url+"/serverz", strconv.Quote(options.ServerName)) == nil {
		fmt.Fprintf(out, "\n  A nats-server listens at %s. Its log is %s. The account server "+
			"started\n  first, so it could not connect at once.\n  %s\n\n", address, q.natsLog, q.hint)
	}
	return s, err
}

// answers says whether something listens at an address.
func answers(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// waitFor returns when a GET of url is answered with 200 and a body that has text in it. It fails
// if ctx ends before.
func waitFor(ctx context.Context, url, text string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !has(url, text) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// has says whether a GET of url is answered with 200 and a body that has text in it.
func has(url, text string) bool {
	r, err := http.Get(url)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return err == nil && r.StatusCode == http.StatusOK && bytes.Contains(body, []byte(text))
}

// untilEnd returns when the account server has ended, which ended says. A signal stops it, or that
// the nats-server could not be started. Its end is no error after a signal.
func (q *quick) untilEnd(signals chan os.Signal, failed, ended chan error) error {
	select {
	case err := <-ended:
		return accountError(err)
	case err := <-failed:
		q.stop()
		return errors.Join(err, accountError(<-ended))
	case s := <-signals:
		if s == os.Interrupt {
			select {
			case err := <-ended:
				return accountError(err)
			case <-time.After(ctrlCTime):
			}
		}
		q.stop()
		<-ended
		return nil
	}
}

// stop lets the account server end.
func (q *quick) stop() {
	if q.account.Process.Signal(syscall.SIGTERM) != nil {
		_ = q.account.Process.Kill() // Windows has no signals
	}
}

// accountError is the error of an account server that has ended by itself. nil is nil.
func accountError(err error) error {
	if err != nil {
		return fmt.Errorf("the account server has ended: %w", err)
	}
	return nil
}
