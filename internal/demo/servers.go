package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
)

// startServers starts the account server and a nats-server, on free ports, and returns when the one
// knows of the other. stop ends both. The account server is first, because the nats-server fetches
// its system account from it. No port is fixed, so that the demo does not disturb servers of the
// user.
func (s *scene) startServers(ctx context.Context, program string) (stop func(), err error) {
	http, nats, err := freePorts()
	if err != nil {
		return nil, err
	}
	s.url, s.natsURL = "http://"+http, "nats://"+nats
	s.say("The account server and a nats-server start.",
		"nats-account-server -c server.conf; nats-server -c nats-server.conf")
	account, err := s.startAccountServer(ctx, program, http)
	if err != nil {
		return nil, err
	}
	natsServer, err := s.startNATSServer(nats)
	if err != nil {
		account()
		return nil, err
	}
	stop = func() { account(); stopNATS(natsServer) }
	// The account server has found the nats-server when it lists it.
	if err := waitFor(ctx, s.url+"/serverz", "n1"); err != nil {
		stop()
		return nil, fmt.Errorf("the account server does not find the nats-server: %w", err)
	}
	s.show("the account server listens at %s, the nats-server at %s", s.url, s.natsURL)
	return stop, nil
}

// freePorts returns two addresses on which nothing listens. The configurations need both before
// either server starts, so port 0 can't be given to them. Another program may take one before a
// server listens there. Then that server does not start and the story says why.
func freePorts() (a, b string, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer second.Close()
	return first.Addr().String(), second.Addr().String(), nil
}

// startAccountServer starts the account server and returns when it serves. stop ends it, and returns
// when the process is gone. If it ends by itself, the error has why, and its log.
func (s *scene) startAccountServer(
	ctx context.Context, program, address string,
) (stop func(), err error) {
	process, err := s.launch(program, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		_ = process.Wait() // ProcessState has more than its error, which is nil for exit code 0
		cancel(fmt.Errorf("the account server has ended: %s", process.ProcessState))
		close(ended)
	}()
	stop = func() {
		terminate(process)
		<-ended
	}
	if waitFor(ctx, s.url+"/healthz", "") != nil {
		stop()
		return nil, fmt.Errorf("%w\n%s", context.Cause(ctx), s.read("account-server.log"))
	}
	return stop, nil
}

// launch writes the configuration of the account server, and starts the process. Its log goes to a
// file, so that the story can be read. reconnectwait is 100 ms, since the nats-server starts after
// it and the first try fails.
func (s *scene) launch(program, address string) (*exec.Cmd, error) {
	program, err := filepath.Abs(program) // the process has another working directory
	if err != nil {
		return nil, err
	}
	conf, err := write(s.dir, "server.conf", fmt.Appendf(nil, `operatorjwtpath: op.jwt
systemaccountjwtpath: sys.jwt
http { listen: %q }
store { dir: store, shard: true }
nats { servers: [%q], usercredentials: sys.creds, reconnectwait: 100 }
`, address, s.natsURL))
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, "account-server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has a descriptor of its own
	process := exec.Command(program, "-c", conf)
	process.Dir, process.Stdout, process.Stderr = s.dir, log, log
	return process, process.Start()
}

// terminate asks the account server to end, and does not wait for that.
func terminate(process *exec.Cmd) {
	if process.Process.Signal(syscall.SIGTERM) != nil {
		_ = process.Process.Kill() // Windows has no signals
	}
}

// startNATSServer starts a nats-server that fetches its accounts from the account server. resolver
// URL(…) makes it ask the account server over HTTP, as NATS_ACCOUNT_URL does in nsc.
func (s *scene) startNATSServer(address string) (*server.Server, error) {
	conf, err := write(s.dir, "nats-server.conf", fmt.Appendf(nil, `listen: %q
server_name: n1
operator: %q
resolver: URL(%s/jwt/v1/accounts/)
`, address, filepath.Join(s.dir, "op.jwt"), s.url))
	if err != nil {
		return nil, err
	}
	options, err := server.ProcessConfigFile(conf)
	if err != nil {
		return nil, err
	}
	return startNATS(options, filepath.Join(s.dir, "nats-server.log"))
}
