package jwtstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"nats-account-server/internal/trust"
)

// A double is a JWT or tombstone that has a file in each layout: Shard was changed, the account was
// stored anew, and its older file could not be removed, or came back in a power cut. Or people have
// put it there.
//
// A start looks for doubles once. The newer of the two files takes the preferred place, and the
// older is removed. Where that fails the newer is served from where it is, and Close tries again.
type double struct {
	key       string
	preferred string // path of the file in the preferred layout
	other     string
	// otherCounts says that the file in the other layout is the newer one.
	otherCounts bool
}

// doubles are those that are not settled. The methods may be called from any goroutine. There are
// none, as a rule, so readers pay one atomic load.
type doubles struct {
	mu  sync.RWMutex      // guards what follows
	all map[string]double // by preferred

	any atomic.Bool // it is known of one which file counts; readers look here first
}

// isOtherNewer reports whether the file in the other layout counts.
func (d *doubles) isOtherNewer(preferred string) bool {
	if !d.any.Load() {
		return false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.all[preferred].otherCounts
}

// add records a double.
func (d *doubles) add(x double) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[string]double{}
	}
	if _, is := d.all[x.preferred]; !is {
		d.all[x.preferred] = x
	}
}

// prefer records which of the two files counts.
func (d *doubles) prefer(x double) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, is := d.all[x.preferred]; is {
		d.all[x.preferred] = x
		d.any.Store(true)
	}
}

// forget records that there is one file.
func (d *doubles) forget(preferred string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, preferred)
}

// list returns those that are not settled.
func (d *doubles) list() []double {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Collect(maps.Values(d.all))
}

// tokenShard is the shard of the activation tokens: their hashes end in these two characters.
const tokenShard = "=="

// findDoubles looks for doubles. It reads names only. It is called before the store is used.
func (d *directory) findDoubles() {
	for f := range d.files(d.other) {
		if x, is := d.doubleOf(f); is {
			d.doubles.add(x)
		}
	}
}

// doubleOf reports whether the account of a file in the other layout has one in the preferred
// layout as well. A link to a file is not an older file: it may lead to the other one.
func (d *directory) doubleOf(f storedFile) (x double, is bool) {
	x = double{key: f.key, preferred: d.preferred.path(d.root, f.key), other: f.path()}
	if f.isTombstone {
		x.preferred = d.preferred.tombstone(d.root, f.key)
	}
	if !f.entry.Type().IsRegular() {
		return double{}, false
	}
	info, err := os.Lstat(x.preferred)
	return x, err == nil && info.Mode().IsRegular()
}

// settleDoubles leaves the newer file of each double. It returns how many are left, and why the
// first is. ensure is asked whether the directory may be written to. With an error of ensure
// nothing is written.
func (d *directory) settleDoubles(ensure func() error) (left int, err error) {
	all := d.doubles.list()
	if len(all) == 0 {
		return 0, nil
	}
	mayWrite := ensure()
	errs := make([]error, len(all))
	parallel(len(all), func(i int) { errs[i] = d.settle(all[i], mayWrite) })
	for i, e := range errs {
		switch {
		case e != nil && left == 0:
			left, err = 1, fmt.Errorf("an account has two files: %w", e)
		case e != nil:
			left++
		case d.other.sharded:
			_ = os.Remove(filepath.Dir(all[i].other)) // fails as long as something is in it
		}
	}
	return left, err
}

// settle leaves the newer file of a double, at its preferred place. If mayWrite is an error, it
// only finds out which one is newer.
func (d *directory) settle(x double, mayWrite error) error {
	inPreferred, _, err := ReadFile(x.preferred, Stamp{})
	var inOther []byte
	if err == nil {
		inOther, _, err = ReadFile(x.other, Stamp{})
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // the other file was removed, but perhaps not durably
		err = errors.Join(syncIfThere(filepath.Dir(x.preferred)),
			syncIfThere(filepath.Dir(x.other)))
	case errors.Is(err, errIrregular): // that is no file of the account
		err = nil
	case err == nil:
		x.otherCounts = d.isNewer(x.key, inOther, inPreferred)
		d.doubles.prefer(x)
		if err = mayWrite; err == nil && x.otherCounts {
			err = moveDurable(x.other, x.preferred)
		} else if err == nil {
			err = removeOlder(x.other, x.preferred)
		}
	}
	if err == nil {
		d.doubles.forget(x.preferred)
	}
	return err
}

// isNewer reports whether the content of the file in the other layout is newer than that in the
// preferred one. If neither is, of two JWTs of one second for instance, the one that the index
// knows counts.
func (d *directory) isNewer(key string, inOther, inPreferred []byte) bool {
	switch {
	case d.newer == nil, bytes.Equal(inOther, inPreferred):
		return false
	case d.newer(key, inOther, inPreferred):
		return true
	}
	return trust.HashOf(inOther) == d.index.Get(key).Hash && !d.newer(key, inPreferred, inOther)
}

// removeOlder removes a file once the newer one is durable. newer is the path of the one that
// stays.
func removeOlder(older, newer string) error {
	if err := makeDurable(newer); err != nil {
		return err
	}
	if err := os.Remove(older); err != nil {
		return err
	}
	return syncDir(filepath.Dir(older))
}
