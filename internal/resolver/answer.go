package resolver

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
)

// answer is what nats-server answers to a request: data or an error, and which server says so.
type answer struct {
	Data   any      `json:"data,omitempty"`
	Error  *outcome `json:"error,omitempty"`
	Server identity `json:"server"`
}

// outcome is what became of a request: a message if it is data, a description if it is an error.
type outcome struct {
	Account string `json:"account,omitempty"`
	// Code is 200 for data and 500 for an error, as in HTTP.
	Code int `json:"code"`
	// Description is that of an error, Message that of data.
	Description string `json:"description,omitempty"`
	Message     string `json:"message,omitempty"`
}

// identity is how a nats-server names itself in its answers.
type identity struct {
	Host    string    `json:"host"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Version string    `json:"ver"`
}

// success is an answer about an account, "" for one about none.
func success(account, message string) answer {
	return answer{Data: &outcome{Account: account, Code: http.StatusOK, Message: message}}
}

// failure is an answer about an account, "" for one about none.
func failure(account, description string) answer {
	return answer{Error: &outcome{
		Account: account, Code: http.StatusInternalServerError, Description: description,
	}}
}

// respond answers a request. A message without a reply subject is no request.
func (s *session) respond(m *nats.Msg, a answer) {
	if m.Reply == "" {
		return
	}
	// nats-server numbers its answers, too.
	a.Server = identity{
		Host: s.host, ID: s.id, Name: Name, Seq: s.seq.Add(1), Time: time.Now().UTC(),
		Version: s.Version,
	}
	text, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = s.conn.Publish(m.Reply, text)
	}
	s.logNATS(err)
}
