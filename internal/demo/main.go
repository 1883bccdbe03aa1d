// Command demo shows the main job of the account server, with a real nats-server beside it.
//
//	demo run PROGRAM    the quick start, until Ctrl-C; starts a nats-server unless one is there
//	demo story PROGRAM  the whole story once: push, connect, revoke, thrown out
//
// PROGRAM is the account server. `make run` and `make demo` build it.
//
// The nats-server runs inside this program, so that neither needs one to be installed: that is why
// the account server itself is not part of it, which must not import nats-server. Both stories
// print the commands of nsc that do the same, but need no nsc.
//
//	run.go       demo run
//	story.go     demo story: its steps in order, in scene.play
//	servers.go   the two servers of the story, their configurations and their ends
//	operator.go  keys, JWTs and creds files, as nsc makes them
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The exit code is 1 for any error. A story that was stopped is one; `demo run` ends with 0 after a
// signal.
func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: demo run|story PROGRAM; see `make run` and `make demo`"))
	}
	var err error
	switch os.Args[1] {
	case "run":
		err = run(quickStart(os.Args[2]), os.Stdout)
	case "story":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = story(ctx, os.Stdout, os.Args[2])
		stop()
	default:
		err = fmt.Errorf("%q is neither run nor story", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

// fail ends the program with an error.
func fail(err error) {
	fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	os.Exit(1)
}

// startNATS starts a nats-server in this process, and returns when it listens. Its log goes to a
// file, since what the account server says is to be read. options are parsed already, so a mistake
// in a configuration is found before anything starts. log is the path of the file, which is made.
// The caller stops the server with stopNATS. It has no signal handlers: those of this program stop
// both servers.
func startNATS(options *server.Options, log string) (*server.Server, error) {
	options.NoSigs, options.LogFile = true, log
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("nats-server: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		stopNATS(s)
		return nil, fmt.Errorf("nats-server does not listen after 10 s; its log is %s", log)
	}
	return s, nil
}

// stopNATS returns when the nats-server has ended. It does nothing if s is nil.
func stopNATS(s *server.Server) {
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}
