package tools

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// barInterval is how often a bar is drawn, and lineInterval how often a line is written.
	barInterval  = 100 * time.Millisecond
	lineInterval = 10 * time.Second
	barWidth     = 30
)

// Progress tells how far a command is: as a bar on a terminal, as a line now and then elsewhere.
// The zero Progress tells nothing. Add and End may be called from any goroutine.
type Progress struct {
	// Out is where it is told, as a rule standard error; nil tells nothing.
	Out io.Writer
	// Total is how many there will be; 0 means that it is not known, and only what is done is told.
	Total int

	mu    sync.Mutex // guards what follows
	done  int
	begun time.Time // of the first
	told  time.Time // when something was written last
	bar   bool      // a bar is on the line
}

// Add counts one more, and writes how far it is if that was long ago. It writes nothing in the
// first interval, so a short run shows nothing.
func (p *Progress) Add() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.done++; p.done == 1 {
		p.begun, p.told = now, now
	}
	interval := lineInterval
	// A file or a pipe gets lines, which can be read later.
	terminal := isTerminal(p.Out)
	if terminal {
		interval = barInterval
	}
	if p.Out == nil || now.Sub(p.told) < interval {
		return
	}
	p.told = now
	if p.bar = terminal; p.bar {
		fmt.Fprintf(p.Out, "\r%s\x1b[K", p.lineLocked(now, true))
	} else {
		fmt.Fprintln(p.Out, p.lineLocked(now, false))
	}
}

// End takes the bar away. It must be called before the results are written to the same terminal.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar {
		fmt.Fprint(p.Out, "\r\x1b[K")
		p.bar = false
	}
}

// lineLocked returns how far it is. The time that is left is that of those done, for the rest. p.mu
// must be held, and p.done is not 0. Example: "[#######          ] 250 of 1000, 25 %, 12s left".
func (p *Progress) lineLocked(now time.Time, bar bool) string {
	if p.Total == 0 {
		return fmt.Sprintf("%d done", p.done)
	}
	line := fmt.Sprintf("%d of %d, %d %%", p.done, p.Total, p.done*100/p.Total)
	if bar {
		full := min(p.done*barWidth/p.Total, barWidth)
		line = "[" + strings.Repeat("#", full) + strings.Repeat(" ", barWidth-full) + "] " + line
	}
	left := now.Sub(p.begun) / time.Duration(p.done) * time.Duration(max(p.Total-p.done, 0))
	return line + ", " + left.Round(time.Second).String() + " left"
}

// isTerminal reports whether a bar can be drawn: a line is overwritten for it. TERM=dumb is a
// terminal that can't move its cursor.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
