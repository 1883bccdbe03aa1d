package browsertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// answerTimeout is for how long a command may take.
const answerTimeout = 60 * time.Second

// message is a command, its answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// pipe is a connection to a browser. Each message on it ends with a zero byte.
type pipe struct {
	to io.Writer

	mu      sync.Mutex // guards what follows, and writing
	last    int        // id of the last command
	waiting map[int]chan message
	heard   map[string]func(message) // what takes the events of a session
	ended   error                    // why no answer comes any more; nil: they do
}

// newPipe returns a pipe, and reads from it until the browser has ended.
func newPipe(to io.Writer, from io.Reader) *pipe {
	p := &pipe{to: to, waiting: make(map[int]chan message), heard: make(map[string]func(message))}
	go p.read(bufio.NewReader(from))
	return p
}

// read passes messages on.
func (p *pipe) read(from *bufio.Reader) {
	for {
		text, err := from.ReadBytes(0)
		if err != nil {
			p.end(err)
			return
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) == nil {
			p.pass(m)
		}
	}
}

// pass passes one message on.
func (p *pipe) pass(m message) {
	p.mu.Lock()
	answer, hear := p.waiting[m.ID], p.heard[m.Session]
	delete(p.waiting, m.ID)
	p.mu.Unlock()
	switch {
	case m.ID != 0 && answer != nil:
		answer <- m
	case m.ID == 0 && hear != nil:
		hear(m)
	}
}

// end ends all commands that wait for an answer.
func (p *pipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = fmt.Errorf("the browser has ended: %w", err)
	for id, answer := range p.waiting {
		close(answer)
		delete(p.waiting, id)
	}
}

// hear has the events of a session passed on. take must return at once, and send no command.
func (p *pipe) hear(session string, take func(message)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard[session] = take
}

// send sends a command and returns the channel of its answer.
func (p *pipe) send(session, method string, params any) (<-chan message, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return nil, p.ended
	}
	encoded, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	p.last++
	text, err := json.Marshal(message{ID: p.last, Session: session, Method: method, Params: encoded})
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	p.waiting[p.last] = answer
	_, err = p.to.Write(append(text, 0))
	return answer, err
}

// call sends a command and stores its result; nil: it is not wanted.
func (p *pipe) call(session, method string, params, result any) error {
	answer, err := p.send(session, method, params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m, isThere := <-answer:
		switch {
		case !isThere:
			return fmt.Errorf("%s: the browser has ended", method)
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result != nil:
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-time.After(answerTimeout):
		return errors.New(method + ": no answer")
	}
}
