package daemon

import "net/http"

// Crowd gives s a crowd of its own size, and the listener that goes with it.
func Crowd(s *http.Server, seats int, room int64, warn func(string, ...any)) *crowd {
	c := newCrowd(warn)
	c.seats, c.room = seats, room
	c.watch(s)
	return c
}

var (
	Admit       = (*crowd).admit
	SeatsWithin = seatsWithin
)

const Grace = grace
