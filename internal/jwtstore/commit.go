package jwtstore

import (
	"maps"
	"slices"
	"time"
)

// entry is a commit that waits for its group.
type entry struct {
	*version
	done chan struct{} // closed when err is known
	err  error
}

// commit appends v to the journal, together with whoever else has something to append: the first who finds the
// journal free leads everybody who has queued up by then through one write and one sync. It can't be called off.
func (d *Dir) commit(v *version) (seq uint64, err error) {
	e := &entry{version: v, done: make(chan struct{})}
	d.mu.Lock()
	d.queue = append(d.queue, e)
	d.mu.Unlock()
	select {
	case <-e.done:
	case d.turn <- struct{}{}:
		d.commitGroup()
		<-d.turn
	}
	if <-e.done; e.err != nil {
		return 0, e.err
	}
	return v.seq, nil
}

// commitGroup commits everything that is queued. Whoever calls it has the turn.
//
// The journal is made ready before the records are: what a checkpoint says is not to be said again.
func (d *Dir) commitGroup() {
	if d.idle() {
		return
	}
	err := d.journal.ready()
	group, records, news := d.takeGroup()
	if err == nil {
		err = d.journal.append(records, true)
	}
	d.mu.Lock()
	for _, e := range group {
		if e.err = err; err == nil {
			d.apply(e.version)
		}
	}
	if err == nil {
		d.news = d.news[news:]
	}
	d.mu.Unlock()
	for _, e := range group {
		close(e.done)
	}
	knock(d.wake)
}

// noteNewcomers writes down which servers are new. If that fails the next commit takes it along.
func (d *Dir) noteNewcomers() {
	d.mu.Lock()
	due := d.newcomers
	d.newcomers = false
	d.mu.Unlock()
	if !due {
		return
	}
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.journal.ready() != nil {
		return
	}
	d.mu.Lock()
	records, news := d.newsRecord()
	d.mu.Unlock()
	if news > 0 && d.journal.append(records, true) == nil {
		d.mu.Lock()
		d.news = d.news[news:]
		d.mu.Unlock()
	}
}

// idle says whether nobody has queued up: then somebody else has led already.
func (d *Dir) idle() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.journal.stale = d.journal.stale || d.newsLost
	return len(d.queue) == 0
}

// takeGroup takes the queue, numbers it and returns the records to write, the news first: what was acknowledged is
// older than what is committed now.
func (d *Dir) takeGroup() (group []*entry, records []record, news int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	group, d.queue = d.queue, nil
	records, news = d.newsRecord()
	now := time.Now()
	for i, e := range group {
		e.seq, e.at = d.led.head+1+uint64(i), now
		if !d.announce || isHash(e.key) {
			e.flags = flagQuiet
		}
		records = append(records, e.record)
	}
	return group, records, news
}

// newsRecord is what the journal does not know of nats-servers yet, for who holds mu.
func (d *Dir) newsRecord() (records []record, news int) {
	if len(d.news) == 0 {
		return nil, 0
	}
	return []record{{kind: kindNews, at: time.Now(), body: encodeNews(d.news)}}, len(d.news)
}

// apply makes a durable change visible, for who holds mu.
func (d *Dir) apply(v *version) {
	if v.kind == kindDelete {
		d.led.withdraw(v.seq, v.key)
	} else {
		d.led.commit(v.seq, v.key, v.at, v.flags&flagQuiet == 0)
	}
	if v.kind != kindTouch {
		d.supersede(v)
	}
}

// supersede makes v the last Put or Delete of its account, for who holds mu. What came before needs not be written
// out any more, except the tombstone of a Delete before a Put.
func (d *Dir) supersede(v *version) {
	older := d.pending[v.key]
	d.pending[v.key] = v
	if v.kind == kindPut && older != nil && older.kind == kindDelete {
		d.graves[v.key] = older
		return
	}
	d.discard(older)
	if v.kind == kindDelete {
		d.discard(d.graves[v.key])
		delete(d.graves, v.key)
	}
}

// discard lets go of a version that was superseded, if it is one, for who holds mu.
func (d *Dir) discard(v *version) {
	if v != nil {
		d.freeRoom(len(v.body))
		d.trash = append(d.trash, v)
	}
}

// state is everything that is known, for a checkpoint: the snapshot, and the changes that are not written out.
// Whoever calls it has the turn, and calls saved when it is in the journal.
func (d *Dir) state() (records []record, saved func()) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	body := snapshot(d.mark(nil), d.led)
	records = []record{{kind: kindSnapshot, seq: d.led.head, at: time.Now(), body: body}}
	for _, v := range d.unwritten() {
		records = append(records, v.record)
	}
	told := len(d.news)
	return records, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.news, d.newsLost = d.news[told:], false
	}
}

// unwritten returns what is not written out, oldest first, for who holds mu.
func (d *Dir) unwritten() []*version {
	all := slices.AppendSeq(make([]*version, 0, len(d.pending)+len(d.graves)), maps.Values(d.pending))
	all = slices.AppendSeq(all, maps.Values(d.graves))
	slices.SortFunc(all, func(a, b *version) int { return bySeq(a.record, b.record) })
	return all
}

// mark is the sequence number up to which everything is in its file, or superseded by something later, when those
// in written are too. For who holds mu.
func (d *Dir) mark(written map[*version]bool) uint64 {
	mark := d.led.head
	for _, unwritten := range [...]map[string]*version{d.pending, d.graves} {
		for _, v := range unwritten {
			if !written[v] {
				mark = min(mark, v.seq-1)
			}
		}
	}
	return mark
}
