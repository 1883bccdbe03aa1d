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
	// account is the built account server with its arguments. run starts it, and gives it its own
	// output.
	account *exec.Cmd
	// url is that of the account server, without a path: "http://localhost:9090".
	url string
	// natsConf is the path of the nats-server's configuration. The address in it is also where one
	// that runs already is looked for.
	natsConf string
	natsLog  string // path of the nats-server's log; it is made
	hint     string // what the user can do now
}

// quickStart is the quick start of the README. Its paths are relative to the root of the
// repository, in which make runs.
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
// There are three goroutines: this one waits for an end, one waits for the process, and one starts
// the nats-server as soon as the account server serves. The error is nil after a signal.
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
	// nats gets exactly one value, nil if none was started, so that the end can wait for it.
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
// account server has ended. Only whether something listens is looked at. What listens there may be
// of the user, with an operator of its own, so it is never stopped. The error is that of a
// nats-server that does not start.
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
// if ctx ends before. It asks every 20 ms and has no time limit of its own.
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

// has says whether a GET of url is answered with 200 and a body that has text in it. An error is
// no: the server may not listen yet.
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
// the nats-server could not be started. Its end is no error after a signal. q.account must be
// started. After Ctrl-C the account server gets ctrlCTime to end by itself.
func (q *quick) untilEnd(signals chan os.Signal, failed, ended chan error) error {
	select {
	case err := <-ended:
		return accountError(err)
	case err := <-failed:
		terminate(q.account)
		return errors.Join(err, accountError(<-ended))
	case s := <-signals:
		if s == os.Interrupt {
			select {
			case err := <-ended:
				return accountError(err)
			case <-time.After(ctrlCTime):
			}
		}
		terminate(q.account)
		<-ended
		return nil
	}
}

// accountError is the error of an account server that has ended by itself. nil is nil.
func accountError(err error) error {
	if err != nil {
		return fmt.Errorf("the account server has ended: %w", err)
	}
	return nil
}
