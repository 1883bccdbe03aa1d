package jwtstore

import (
	"encoding/binary"
	"time"
)

// event is something that became known of a nats-server. The journal has it as
//
//	op (1 byte), length of the name (uvarint), name, number (uvarint)
type event struct {
	op     byte
	server string
	number uint64 // opConfirm: the seq; opMeet: Unix ns; opForget: 0
}

const (
	opMeet byte = 1 + iota
	opConfirm
	opForget
)

func encodeNews(events []event) []byte {
	var b []byte
	for _, e := range events {
		b = append(b, e.op)
		b = appendText(b, e.server)
		b = binary.AppendUvarint(b, e.number)
	}
	return b
}

// applyNews tells the ledger what an encodeNews of an earlier process knew. It stops where it is not understood.
func (l *ledger) applyNews(b []byte) {
	d := decoder{rest: b}
	for len(d.rest) > 0 {
		op := d.rest[0]
		d.advance(1)
		e := event{op: op, server: d.text(), number: d.uvarint()}
		if d.bad || op < opMeet || op > opForget {
			return
		}
		l.learn(e)
	}
}

// learn applies an event and says whether it is worth remembering.
func (l *ledger) learn(e event) bool {
	switch e.op {
	case opMeet:
		return l.meet(e.server, time.Unix(0, int64(e.number)))
	case opConfirm:
		return l.confirm(e.server, e.number)
	default:
		return l.forget(e.server)
	}
}
