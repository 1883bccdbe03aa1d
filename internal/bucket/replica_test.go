package bucket_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// laggard makes a nats-server look like a replica that is behind: consumers deliver nothing, and say that
// nothing is pending. What a request to the leader is answered with comes as it is.
type laggard struct {
	*keeper
	mu       sync.Mutex
	isBehind bool
	ends     [2]string // where the stream ends, and where the answers say that it does; "": there
	held     int       // deliveries that were not passed on
	release  []func()
}

// newLaggard listens in front of a nats-server.
func newLaggard(t *testing.T, k *keeper) *laggard {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	l := &laggard{keeper: &keeper{address: listener.Addr().String()}}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", k.address)
			if err != nil {
				_ = client.Close()
				continue
			}
			go l.pass(client, server)
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
		}
	}()
	return l
}

// pass passes on what a nats-server sends.
func (l *laggard) pass(client, server net.Conn) {
	defer client.Close()
	r := bufio.NewReader(server)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		text := bytes.Clone(line)
		if fields := strings.Fields(string(line)); fields[0] == "MSG" || fields[0] == "HMSG" {
			size, _ := strconv.Atoi(fields[len(fields)-1])
			body := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			text = append(text, body...)
		}
		l.write(client, text)
	}
}

// write passes one line on, with its message, or holds it.
func (l *laggard) write(client net.Conn, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	write := func() { _, _ = client.Write(text) }
	switch {
	case l.isBehind && bytes.Contains(text, []byte(" $JS.ACK.")):
		l.held++
		l.release = append(l.release, write)
		return
	case l.ends[0] != "":
		text = bytes.Replace(text, []byte(`"last_seq":`+l.ends[0]), []byte(`"last_seq":`+l.ends[1]), 1)
	case l.isBehind: // there are fewer than ten
		_, after, isThere := bytes.Cut(text, []byte(`"num_pending":`))
		if isThere {
			text[len(text)-len(after)] = '0'
		}
	}
	write()
}

// lag makes it fall behind, or catch up.
func (l *laggard) lag(isBehind bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isBehind = isBehind
	for _, write := range l.release {
		write()
	}
	l.release = nil
}

// holds reports whether something was not delivered.
func (l *laggard) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held > 0
}

// A server has read the bucket when it is where the leader is, whatever its consumer says.
func TestAReplicaThatIsBehindIsNoEndOfTheBucket(t *testing.T) {
	for name, wasThere := range map[string]bool{
		"the bucket is read for the first time": false,
		"the server was away":                   true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, op := startKeeper(t, ""), jwttest.NewOperator(t)
			l, one, two := newLaggard(t, k), newMember(t, op).start(k).await(), newMember(t, op)
			a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
			one.mustPush(issue(t, op, a, 1))
			if wasThere {
				two.start(l.keeper).await().stop()
			}
			one.mustPush(issue(t, op, a, 2))
			one.mustPush(issue(t, op, b, 1))
			l.lag(true)
			two.start(l.keeper)
			natstest.Eventually(t, "the bucket is read", func() bool {
				return l.holds() || two.Progress().CaughtUp
			})
			if _, err := two.accounts.Get(t.Context(), b.ID); !errors.Is(err, accounts.ErrPeers) {
				t.Errorf("an account that is not here yet: %v", err)
			}
			l.lag(false)
			two.await()
			for account, want := range map[*jwttest.Account][]byte{
				a: issue(t, op, a, 2), b: issue(t, op, b, 1),
			} {
				got, err := two.accounts.GetLocal(t.Context(), account.ID)
				if err != nil || string(got.JWT) != string(want) {
					t.Errorf("when the bucket has been read: %v, %v", got, err)
				}
			}
		})
	}
}

// While two leaders answer, the new one knows a revision that the old one does not. It is read later.
func TestTheEndOfTheBucketIsThatOfItsLastMessage(t *testing.T) {
	t.Parallel()
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	l, one, two := newLaggard(t, k), newMember(t, op).start(k).await(), newMember(t, op)
	a := jwttest.NewAccount(t)
	one.mustPush(issue(t, op, a, 1))
	one.mustPush(issue(t, op, a, 2))
	l.mu.Lock()
	l.ends = [2]string{"2", "3"}
	l.mu.Unlock()
	two.start(l.keeper).await()
	one.mustPush(issue(t, op, a, 3))
	two.serves(a.ID, issue(t, op, a, 3))
}
