package resolver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// answer is what nats-server answers to a request: data or error, and who says so.
type answer struct {
	Data   any      `json:"data,omitempty"`
	Error  *outcome `json:"error,omitempty"`
	Server identity `json:"server"`
}

type outcome struct {
	Account     string `json:"account,omitempty"`
	Code        int    `json:"code"`
	Description string `json:"description,omitempty"` // of an error
	Message     string `json:"message,omitempty"`     // of data
}

type identity struct {
	Host    string    `json:"host"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Version string    `json:"ver"`
}

func done(account, message string) answer {
	return answer{Data: &outcome{Account: account, Code: http.StatusOK, Message: message}}
}

func failed(account, description string) answer {
	return answer{Error: &outcome{Account: account, Code: http.StatusInternalServerError, Description: description}}
}

// respond answers a request. Who does not ask to be answered is not.
func (s *session) respond(m *nats.Msg, a answer) {
	if m.Reply == "" {
		return
	}
	a.Server = identity{Host: s.host, ID: s.id, Name: Name, Seq: s.seq.Add(1), Time: time.Now().UTC(), Version: s.Version}
	text, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = s.conn.Publish(m.Reply, text)
	}
	s.complain(err)
}

// harmless makes a text that a stranger may have written fit for one line of a log.
func harmless(text string, most int) string {
	q := strconv.QuoteToASCII(text[:min(len(text), most)])
	return q[1 : len(q)-1]
}

const (
	quotaLines = 20
	quotaEvery = time.Minute
)

// quota bounds the lines about what strangers send.
type quota struct {
	mu      sync.Mutex
	since   time.Time
	lines   int
	skipped int
}

// take says whether there may be another line, and how many there would have been since the last one.
func (q *quota) take(now time.Time) (ok bool, skipped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.since) >= quotaEvery {
		q.since, q.lines = now, 0
	}
	if q.lines == quotaLines {
		q.skipped++
		return false, 0
	}
	q.lines++
	skipped, q.skipped = q.skipped, 0
	return true, skipped
}

// warn writes a line about what a stranger has sent, unless there have been many.
func (d *Server) warn(text string) {
	ok, skipped := d.told.take(time.Now())
	if skipped > 0 {
		d.Log.Warn(fmt.Sprintf("%d more messages from NATS were refused", skipped))
	}
	if ok {
		d.Log.Warn(text)
	}
}
