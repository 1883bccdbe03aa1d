package pages

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// maxStreams bounds the browsers that follow what happens. Each takes a connection.
	maxStreams = 64
	// lookInterval is how often it is looked whether there is something new.
	lookInterval = time.Second
	// aliveInterval is how often a stream says that it is alive, so that one that is dead is found
	// out.
	aliveInterval = 15 * time.Second
	// sendTimeout is how long a browser may take for what it is sent.
	sendTimeout = 10 * time.Second
)

// ErrStreams says that too many browsers follow what happens. httpapi answers 503, and the script
// shows the text.
var ErrStreams = errors.New("too many pages are open: this one does not change by itself")

// streams are the browsers that follow what happens. Each of them asks monitor.Version once a
// second, which costs nothing, and no event is passed from the place of a change to here.
type streams struct {
	mu     sync.Mutex    // guards what follows
	open   int           // how many there are, at most maxStreams
	end    chan struct{} // closed when those that are open are to end
	closed bool
}

// join counts a stream, and returns what tells it to end. The caller must call leave if there is no
// error, which is ErrStreams. end is shared by all that are open.
func (s *streams) join() (end <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.open == maxStreams {
		return nil, ErrStreams
	}
	s.open++
	return s.end, nil
}

// leave takes a stream out of the count.
func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// EndStreams ends all streams. A browser comes back by itself, and shows its credentials again
// then. A reload calls it. Passwords may have changed. Streams that begin later are not ended.
func (s *Site) EndStreams() {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	close(s.streams.end)
	s.streams.end = make(chan struct{})
}

// Close ends all streams, and lets no other one begin. A stop calls it. It may be called more than
// once. HTTP can be shut down only when no stream is left.
func (s *Site) Close() {
	s.streams.mu.Lock()
	s.streams.closed = true
	s.streams.mu.Unlock()
	s.EndStreams()
}

// Follow sends server-sent events until the browser leaves or EndStreams is called: "changed"
// whenever there is another version than the last. known is the one that the browser shows. An
// error means that nothing was sent. The stream is as the HTML standard has it: "event: changed",
// "data: <version>", an empty line. A line that begins with a colon is a comment. retry is after
// how many milliseconds a browser comes back.
func (s *Site) Follow(ctx context.Context, w http.ResponseWriter, known string) error {
	end, err := s.streams.join()
	if err != nil {
		return err
	}
	defer s.streams.leave()
	control := http.NewResponseController(w)
	// The server's time for a request does not hold for a stream.
	_ = control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	// A proxy must not wait until it has more.
	w.Header().Set("X-Accel-Buffering", "no")
	// It returns false when the browser is gone or too slow.
	send := func(text string) bool {
		_ = control.SetWriteDeadline(time.Now().Add(sendTimeout))
		_, err := io.WriteString(w, text)
		return err == nil && control.Flush() == nil
	}
	look, alive := time.NewTicker(lookInterval), time.NewTicker(aliveInterval)
	defer look.Stop()
	defer alive.Stop()
	for isGood := send("retry: 2000\n\n"); isGood; {
		if version := s.monitor.Version(); version != known {
			known = version
			isGood = send("event: changed\ndata: " + version + "\n\n")
			continue
		}
		select {
		case <-look.C:
		case <-alive.C:
			isGood = send(":\n\n")
		case <-end:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
