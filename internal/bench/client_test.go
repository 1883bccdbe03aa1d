package bench_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// client is one HTTP connection. It does far less than net/http's, so that the server gets most of
// the machine.
type client struct {
	net.Conn
	r    *bufio.Reader
	body []byte
}

func dial(address string) (*client, error) {
	conn, err := net.Dial("tcp", address)
	return &client{Conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}, err
}

// do sends a request and returns the body of its response, which is valid until the next request.
func (c *client) do(request []byte) (body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	status, length := 0, -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case status == 0:
			status, err = strconv.Atoi(string(line[len("HTTP/1.1 "):][:3]))
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(value))
		}
		if err != nil {
			return nil, err
		}
	}
	if length < 0 {
		return nil, errors.New("the response does not say how long it is")
	}
	c.body = append(c.body[:0], make([]byte, length)...)
	if _, err = io.ReadFull(c.r, c.body); err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, c.body)
	}
	return c.body, err
}

func accountPath(key string) string { return "/jwt/v1/accounts/" + key }

func get(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path)
}

func post(path string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body)
}

// answers reports whether a server answers now.
func answers(address string) bool {
	c, err := dial(address)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.do(get(accountPath("")))
	return err == nil
}

// send lets clients send requests, each once, and returns how long that takes. A body that is not
// the wanted one is an error; without wanted bodies each is good.
func send(t testing.TB, address string, clients int, requests, bodies [][]byte) time.Duration {
	t.Helper()
	connections := make([]*client, clients)
	for i := range connections {
		c, err := dial(address)
		check(t, err)
		defer c.Close()
		connections[i] = c
	}
	var next atomic.Int64
	began := time.Now()
	parallel(clients, func(i int) {
		for n := int(next.Add(1)) - 1; n < len(requests); n = int(next.Add(1)) - 1 {
			body, err := connections[i].do(requests[n])
			if err == nil && bodies != nil && !bytes.Equal(body, bodies[n]) {
				err = fmt.Errorf("another body than expected: %s", body)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	took := time.Since(began)
	if t.Failed() {
		t.FailNow()
	}
	return took
}

// rate is in operations a second.
func rate(operations int, took time.Duration) float64 {
	return float64(operations) / took.Seconds()
}

// each is the time of one operation in microseconds.
func each(operations int, took time.Duration) float64 {
	return float64(took.Microseconds()) / float64(operations)
}
