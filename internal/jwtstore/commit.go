package jwtstore

import (
	"encoding/binary"
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
	group, records, events := d.takeGroup()
	if err == nil {
		err = d.journal.append(records, true)
	}
	if err == nil {
		d.apply(group)
		d.outbox.saved(events)
	}
	for _, e := range group {
		e.err = err
		close(e.done)
	}
	signal(d.wake)
}

// saveEvents writes to the journal what the outbox learned, if that is urgent. If it fails the next commit takes it along.
func (d *Dir) saveEvents() {
	if !d.outbox.isUrgent() {
		return
	}
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.journal.ready() != nil {
		return
	}
	records, events := d.eventsRecord()
	if len(records) > 0 && d.journal.append(records, true) == nil {
		d.outbox.saved(events)
	}
}

// idle says whether nobody has queued up: then somebody else has led already.
func (d *Dir) idle() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.journal.stale = d.journal.stale || d.outbox.needsCheckpoint()
	return len(d.queue) == 0
}

// takeGroup takes the queue, numbers it and returns the records to write, the events first: what was acknowledged is
// older than what is committed now.
func (d *Dir) takeGroup() (group []*entry, records []record, events savepoint) {
	d.mu.Lock()
	group, d.queue = d.queue, nil
	d.mu.Unlock()
	records, events = d.eventsRecord()
	now := time.Now()
	seq, announce := d.outbox.next()
	for i, e := range group {
		e.seq, e.at = seq+uint64(i), now
		if !announce || isHash(e.key) {
			e.flags = flagQuiet
		}
		records = append(records, e.record)
	}
	return group, records, events
}

// eventsRecord is what the journal does not know of nats-servers yet.
func (d *Dir) eventsRecord() (records []record, events savepoint) {
	body, events := d.outbox.unsaved()
	if len(body) == 0 {
		return nil, events
	}
	return []record{{kind: kindNews, at: time.Now(), body: body}}, events
}

// apply makes durable changes visible: first to readers, then to the outbox, so that what is announced for a change is
// never the JWT before it.
func (d *Dir) apply(group []*entry) {
	d.mu.Lock()
	for _, e := range group {
		if e.kind != kindTouch {
			d.supersede(e.version)
		}
	}
	d.mu.Unlock()
	for _, e := range group {
		d.outbox.apply(e.record)
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
	body, events := d.outbox.appendSnapshot(binary.AppendUvarint(nil, d.mark(nil)))
	records = []record{{kind: kindSnapshot, seq: d.head(), at: time.Now(), body: body}}
	for _, v := range d.unwritten() {
		records = append(records, v.record)
	}
	return records, func() { d.outbox.saved(events) }
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
	mark := d.head()
	for _, unwritten := range [...]map[string]*version{d.pending, d.graves} {
		for _, v := range unwritten {
			if !written[v] {
				mark = min(mark, v.seq-1)
			}
		}
	}
	return mark
}

// head is the sequence number of the last change.
func (d *Dir) head() uint64 {
	next, _ := d.outbox.next()
	return next - 1
}
