package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// storyTime is how long the whole story may take, on a slow machine too.
const storyTime = time.Minute

// scene is what the story is played with. Everything is in a directory of its own. The fields are
// filled in by prepare and startServers, in this order; play needs all of them.
type scene struct {
	out      io.Writer // where the story is told
	dir      string    // of keys, configurations, the store and logs
	operator *operator
	orders   *account // the account of the story
	alice    string   // public key of the user, "U…", which the revocation names
	// url is that of the account server, such as http://127.0.0.1:41233, and natsURL that of the
	// nats-server, such as nats://127.0.0.1:41234.
	url, natsURL string
	step         int // how many steps were told
}

// story plays the main job once: an account is pushed, its user connects, is revoked, is thrown out
// and stays out. It leaves neither files nor processes behind. The error is that a step did not end
// as it should, and has the log of the account server. out gets the story as it happens, for
// people: it is no format. program is the path of the account server. Ctrl-C ends ctx, and the
// story with an error, after both servers have stopped.
func story(ctx context.Context, out io.Writer, program string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storyTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "nats-account-server-demo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &scene{out: out, dir: dir}
	if err := s.prepare(); err != nil {
		return err
	}
	stop, err := s.startServers(ctx, program)
	if err != nil {
		return err
	}
	defer stop()
	if err := s.play(ctx); err != nil {
		return fmt.Errorf("%w\nthe log of the account server:\n%s", err,
			s.read("account-server.log"))
	}
	return nil
}

// prepare makes the keys and the files, as nsc does for a real operator. It writes op.jwt and
// sys.jwt, which both servers read, and two creds files: sys.creds with which the account server
// connects, and alice.creds for the client.
func (s *scene) prepare() (err error) {
	s.say("nsc makes an operator, its system account, and an account `orders` with a user `alice`.",
		"nsc add operator demo --sys; nsc add account orders; nsc add user alice")
	if s.operator, err = newOperator(); err != nil {
		return err
	}
	if s.orders, err = newAccount("orders"); err != nil {
		return err
	}
	id, creds, err := s.orders.user("alice")
	if err != nil {
		return err
	}
	s.alice = id
	_, systemCreds, err := s.operator.system.user("sys")
	if err != nil {
		return err
	}
	system, err := s.operator.sign(s.operator.system)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"op.jwt": []byte(s.operator.token), "sys.jwt": []byte(system),
		"sys.creds": systemCreds, "alice.creds": creds,
	} {
		if _, err := write(s.dir, name, content); err != nil {
			return err
		}
	}
	return nil
}

// play is the story itself. Its steps are those that README.md names.
func (s *scene) play(ctx context.Context) error {
	first, err := s.operator.sign(s.orders)
	if err != nil {
		return err
	}
	s.say("The account is pushed. nats-server learns of it when the first client needs it.",
		"nsc push --account orders")
	if err := s.push(ctx, first, http.StatusOK); err != nil {
		return err
	}
	alice, thrownOut, err := s.connect()
	if err != nil {
		return err
	}
	defer alice.Close()
	// The revocation needs a JWT that is newer by its time of issue.
	if err := nextSecond(ctx); err != nil {
		return err
	}
	second, err := s.operator.sign(s.orders, s.alice)
	if err != nil {
		return err
	}
	s.say("alice is revoked: the account's JWT is made anew and pushed.",
		"nsc revocations add-user --account orders --name alice; nsc push --account orders")
	// What is measured has the commit, the announcement and what nats-server does.
	pushed := time.Now()
	if err := s.push(ctx, second, http.StatusOK); err != nil {
		return err
	}
	select {
	case reason := <-thrownOut:
		s.show("%v after the push, alice is thrown out: %v",
			reason.at.Sub(pushed).Round(time.Millisecond), reason.err)
	case <-ctx.Done():
		return fmt.Errorf("alice is still connected: %w", ctx.Err())
	}
	return s.stayOut(ctx, first)
}

// nextSecond waits for the next second of the clock. JWTs have their time of issue in seconds, and
// a revocation counts for JWTs of its own second too. The next JWT must be newer than the first,
// which is pushed again at the end and must be refused as older.
func nextSecond(ctx context.Context) error {
	now := time.Now()
	select {
	case <-time.After(now.Truncate(time.Second).Add(time.Second).Sub(now)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stayOut shows that neither a new connection nor the older JWT bring the user back. nats-server
// refuses the connection with "Authorization Violation". The account server refuses the older JWT
// with 409, because its version is the floor for the account.
func (s *scene) stayOut(ctx context.Context, older string) error {
	s.say("alice tries again.", "nats sub orders.new --creds alice.creds")
	again, err := nats.Connect(s.natsURL, nats.UserCredentials(filepath.Join(s.dir, "alice.creds")))
	if err == nil {
		again.Close()
		return errors.New("alice, who is revoked, could connect")
	}
	s.show("refused: %v", err)
	s.say("The JWT from before the revocation is pushed again.",
		"curl --data-binary @orders-old.jwt …")
	if err := s.push(ctx, older, http.StatusConflict); err != nil {
		return err
	}
	s.say("That is the whole job. Both servers stop, and their files are removed.", "")
	return nil
}

// ending is how a connection ended. err is nil if the connection was closed without a reason.
type ending struct {
	at  time.Time
	err error
}

// connect connects as alice and receives a message, which shows that the account works. thrownOut
// gets the end of the connection: first the reason, if nats-server says one. The channel has room,
// so that the callbacks of nats.go never wait. The caller closes c.
func (s *scene) connect() (c *nats.Conn, thrownOut chan ending, err error) {
	s.say("alice connects to nats-server, which fetches the account from the account server.",
		"nats sub orders.new --creds alice.creds")
	thrownOut = make(chan ending, 10)
	end := func(err error) { thrownOut <- ending{time.Now(), err} }
	c, err = nats.Connect(s.natsURL, nats.UserCredentials(filepath.Join(s.dir, "alice.creds")),
		nats.NoReconnect(),
		// nats-server says why before it closes the connection.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { end(err) }),
		nats.ClosedHandler(func(c *nats.Conn) { end(c.LastError()) }))
	if err != nil {
		return nil, nil, err
	}
	subscription, err := c.SubscribeSync("orders.new")
	if err == nil {
		err = c.Publish("orders.new", []byte("one pizza"))
	}
	if err != nil {
		return nil, nil, err
	}
	message, err := subscription.NextMsg(10 * time.Second)
	if err != nil {
		return nil, nil, err
	}
	s.show("connected; received on %s: %s", message.Subject, message.Data)
	return c, thrownOut, nil
}

// push pushes the account's JWT and shows the answer, which must have a status. wait=5s makes the
// answer wait until nats-server has acknowledged the change, at most that long.
func (s *scene) push(ctx context.Context, token string, want int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		s.url+"/jwt/v1/accounts/"+s.orders.id+"?wait=5s", strings.NewReader(token))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	s.show("%s: %s", response.Status, bytes.TrimSpace(body))
	if response.StatusCode != want {
		return fmt.Errorf("the push was answered with %s, not %d", response.Status, want)
	}
	return nil
}

// say writes what happens next, and the command that does it. command is for the reader only:
// nothing runs it. "" leaves its line out.
func (s *scene) say(what, command string) {
	s.step++
	fmt.Fprintf(s.out, "\n%d. %s\n", s.step, what)
	if command != "" {
		fmt.Fprintf(s.out, "     $ %s\n", command)
	}
}

// show writes what a server or a client says. A text of several lines is indented as one.
func (s *scene) show(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(s.out, "     %s\n", strings.ReplaceAll(text, "\n", "\n     "))
}

// read returns what a file has, or why it can't be read.
func (s *scene) read(name string) string {
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(content)
}
