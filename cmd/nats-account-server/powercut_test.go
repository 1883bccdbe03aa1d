package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// A power cut leaves on the disk what was synced, and any part of what was not. These tests record
// what the running program does to its files, build every state that a cut at any moment may leave,
// and open the store on it.
//
// The file system of this model promises no more than POSIX does: a sync of a file makes its
// content durable, not its name; a sync of a directory makes the names in it durable, not the
// content of what they name; a sync of the file system makes all of that durable. A rename is there
// or not, never half. What was not synced is there, not there, zeros of the same length, or torn,
// each by itself.

// change is what one system call does to the disk.
type change struct {
	kind       changeKind
	inode      int // what is named, or whose content it is
	parent     int // directory of the name
	name       string
	oldParent  int
	oldName    string
	data       []byte // of a write, without the zeros at its end
	length     int    // of a write, with them
	at         int64
	start, end int
}

type changeKind int

const (
	naming   changeKind = iota // a new file or directory
	renaming                   // of what may have another name now
	removing
	writing
	truncating
)

// barrier is a sync of a file or directory, or of everything.
type barrier struct {
	inode      int    // everything, or what is synced
	what       string // for people: the same for all that come from the same place in the program
	start, end int
}

// everything is the inode of a barrier that is the sync of the file system.
const everything = -1

// disk is a trace read as changes and syncs.
type disk struct {
	root     string
	names    map[string]int // path -> inode, as the running program sees it
	isDir    map[int]bool
	offsets  map[int]int64
	changes  []change
	barriers []barrier
	answers  []int // line at which each 200 began to go out
	written  []sysCall
}

func readDisk(root string, calls []sysCall) *disk {
	d := &disk{root: root, names: map[string]int{root: 0}, isDir: map[int]bool{0: true},
		offsets: map[int]int64{}}
	slices.SortStableFunc(calls, func(a, b sysCall) int { return a.end - b.end })
	for _, c := range calls {
		if c.answers() {
			d.answers = append(d.answers, c.start)
		} else if c.path == root || strings.HasPrefix(c.path, root+"/") {
			d.do(c)
		}
	}
	slices.Sort(d.answers)
	return d
}

// do adds what one call does.
func (d *disk) do(c sysCall) {
	c.path = strings.TrimSuffix(c.path, "/")
	inode, known := d.names[c.path]
	switch c.name {
	case "openat":
		d.open(c, inode, known)
	case "mkdir", "mkdirat":
		d.name(c, true)
	case "write", "pwrite64":
		if c.at < 0 {
			c.at = d.offsets[inode]
			d.offsets[inode] += int64(len(c.data))
		}
		d.add(c, change{kind: writing, inode: inode, data: withoutZeros(c.data), length: len(c.data),
			at: c.at})
		d.written = append(d.written, c)
	case "ftruncate":
		d.add(c, change{kind: truncating, inode: inode, at: c.at})
	case "fsync", "fdatasync":
		if known {
			d.barriers = append(d.barriers, barrier{inode, d.purpose(c), c.start, c.end})
		}
	case "syncfs":
		d.barriers = append(d.barriers, barrier{everything, "the file system", c.start, c.end})
	case "rename", "renameat", "renameat2":
		d.move(c, inode)
	case "unlink", "unlinkat", "rmdir":
		if known {
			d.add(c, change{kind: removing, inode: inode, parent: d.names[filepath.Dir(c.path)],
				name: filepath.Base(c.path)})
			delete(d.names, c.path)
		}
	}
}

func (d *disk) open(c sysCall, inode int, known bool) {
	switch {
	case !strings.Contains(c.flags, "O_WRONLY") && !strings.Contains(c.flags, "O_RDWR"):
	case !known:
		d.name(c, false)
	case strings.Contains(c.flags, "O_TRUNC"):
		d.offsets[inode] = 0
		d.add(c, change{kind: truncating, inode: inode})
	default:
		d.offsets[inode] = 0
	}
}

func (d *disk) name(c sysCall, dir bool) {
	inode := len(d.isDir)
	d.isDir[inode] = dir
	d.names[c.path] = inode
	d.add(c, change{kind: naming, inode: inode, parent: d.names[filepath.Dir(c.path)],
		name: filepath.Base(c.path)})
}

func (d *disk) move(c sysCall, inode int) {
	d.add(c, change{kind: renaming, inode: inode, parent: d.names[filepath.Dir(c.to)],
		name:      filepath.Base(c.to),
		oldParent: d.names[filepath.Dir(c.path)], oldName: filepath.Base(c.path)})
	delete(d.names, c.path)
	d.names[c.to] = inode
}

func (d *disk) add(c sysCall, ch change) {
	ch.start, ch.end = c.start, c.end
	d.changes = append(d.changes, ch)
}

// purpose names a sync by what is synced.
func (d *disk) purpose(c sysCall) string {
	path := strings.Trim(strings.TrimPrefix(c.path, d.root), "/")
	switch base := filepath.Base(path); {
	case path == "":
		return "the parent directory"
	case path == "store":
		return "the store directory"
	case strings.HasPrefix(base, "temp-"):
		return "a temp file"
	case len(base) == 2:
		return "a shard directory"
	default:
		return strings.TrimPrefix(path, "store/")
	}
}

// durable says which changes a cut at a line can't undo, with one sync left out (-1: none). A
// change that has begun may be there, one that has not is not.
func (d *disk) durable(cut, without int) (sure, maybe []int) {
	for i, c := range d.changes {
		switch {
		case c.start >= cut:
		case d.covered(c, cut, without):
			sure = append(sure, i)
		default:
			maybe = append(maybe, i)
		}
	}
	return sure, maybe
}

func (d *disk) covered(c change, cut, without int) bool {
	target := c.inode
	if c.kind == naming || c.kind == renaming || c.kind == removing {
		target = c.parent
	}
	for i, b := range d.barriers {
		if i != without && (b.inode == target || b.inode == everything) && b.start > c.end && b.end < cut {
			return true
		}
	}
	return false
}

// How a change that is not durable is found after the cut.
const (
	absent = iota
	present
	zeroed
	torn
	sectored
	variants
)

// image is what is on the disk.
type image struct {
	names   map[int]map[string]int
	content map[int]content
}

// content is what is in a file: zeros follow the data up to the size. Most of a journal is zeros,
// and to copy those for each image takes most of the time.
type content struct {
	data []byte
	size int64
}

func withoutZeros(b []byte) []byte { return bytes.TrimRight(b, "\x00") }

// build makes the image of some changes, each in its variant, in the order in which they were made.
func (d *disk) build(chosen map[int]int, rnd *rand.Rand) image {
	m := image{names: map[int]map[string]int{}, content: map[int]content{}}
	for _, i := range slices.Sorted(maps.Keys(chosen)) {
		c := d.changes[i]
		switch variant := chosen[i]; {
		case variant == absent:
		case c.kind == naming:
			m.put(c.parent, c.name, c.inode)
		case c.kind == renaming:
			if m.names[c.oldParent][c.oldName] == c.inode {
				delete(m.names[c.oldParent], c.oldName)
			}
			m.put(c.parent, c.name, c.inode)
		case c.kind == removing:
			delete(m.names[c.parent], c.name)
		case c.kind == truncating:
			m.content[c.inode] = m.content[c.inode].resized(c.at)
		default:
			m.content[c.inode] = damaged(m.content[c.inode], c, variant, rnd)
		}
	}
	return m
}

func (m image) put(parent int, name string, inode int) {
	if m.names[parent] == nil {
		m.names[parent] = map[string]int{}
	}
	m.names[parent][name] = inode
}

// resized cuts a content, or lengthens it by zeros. The data is still that of c.
func (c content) resized(size int64) content {
	return content{c.data[:min(int64(len(c.data)), size)], size}
}

// damaged applies a write as the variant says.
func damaged(old content, c change, variant int, rnd *rand.Rand) content {
	data, length := c.data, c.length
	switch variant {
	case zeroed:
		data = nil
	case torn:
		length = rnd.IntN(length + 1)
		data = data[:min(length, len(data))]
	case sectored:
		data = slices.Clone(data)
		for at := 0; at < len(data); at += 512 {
			if rnd.IntN(2) == 0 {
				clear(data[at:min(at+512, len(data))])
			}
		}
	}
	end := c.at + int64(length)
	all := make([]byte, max(int64(len(old.data)), c.at+int64(len(data))))
	copy(all, old.data)
	clear(all[min(c.at, int64(len(all))):min(end, int64(len(all)))])
	copy(all[min(c.at, int64(len(all))):], data)
	return content{all, max(old.size, end)}
}

// lay writes the image below a directory that stands for the root.
func (d *disk) lay(m image, dir string, inode int) error {
	for name, child := range m.names[inode] {
		path := filepath.Join(dir, name)
		if !d.isDir[child] {
			if err := m.content[child].write(path); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if err := d.lay(m, path, child); err != nil {
			return err
		}
	}
	return nil
}

func (c content) write(path string) error {
	if err := os.WriteFile(path, c.data, 0o600); err != nil || int64(len(c.data)) == c.size {
		return err
	}
	return os.Truncate(path, c.size)
}

// digest is the same for equal images only.
func (d *disk) digest(m image, inode int) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.names[inode])) {
		child := m.names[inode][name]
		if d.isDir[child] {
			fmt.Fprintf(&b, "%s/(%s)", name, d.digest(m, child))
		} else {
			c := m.content[child]
			fmt.Fprintf(&b, "%s=%d %x;", name, c.size, sha256.Sum256(withoutZeros(c.data)))
		}
	}
	return b.String()
}

// pushes is what was pushed and when it was acknowledged.
type pushes struct {
	tokens map[string][][]byte // of each account, oldest first
	acked  []map[string]int    // after each 200: how many of each account were acknowledged
}

// runPushes drives the program: pushes one by one and at once, waits for files, a stop, kills,
// starts on what is there.
func runPushes(t *testing.T) (*disk, *pushes) {
	tr := newTrace(t)
	s := newEnv(t, "nats://127.0.0.1:1", "") // NATS is away: every change stays pending
	w := &pushes{tokens: map[string][][]byte{}}
	var keys, many []*jwttest.Account
	for range 3 {
		keys = append(keys, jwttest.NewAccount(t))
	}
	for range 17 {
		many = append(many, jwttest.NewAccount(t))
	}
	tr.leaveDirectories(s.dir, keys[0].ID[54:])
	acked := map[string]int{}
	push := func(url string, all ...*jwttest.Account) {
		t.Helper()
		var group sync.WaitGroup
		for _, a := range all {
			token := s.op.Account(t, a, func(c *jwt.AccountClaims) {
				c.Name = fmt.Sprint("version ",
					len(w.tokens[a.ID]))
			})
			w.tokens[a.ID] = append(w.tokens[a.ID], token)
			group.Go(func() {
				status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, token)
				if status != http.StatusOK {
					t.Errorf("%d %s", status, body)
				}
			})
		}
		group.Wait()
		for range all[1:] { // which of several 200s is whose can't be seen
			w.acked = append(w.acked, maps.Clone(acked))
		}
		for _, a := range all {
			acked[a.ID] = len(w.tokens[a.ID])
		}
		w.acked = append(w.acked, maps.Clone(acked))
	}
	written := func(a *jwttest.Account) {
		t.Helper()
		last := w.tokens[a.ID][len(w.tokens[a.ID])-1]
		path := filepath.Join(s.dir, "store", a.ID[54:], a.ID+".jwt")
		natstest.Eventually(t, "the file is written", func() bool {
			content, _ := os.ReadFile(path)
			return bytes.Equal(content, last)
		})
	}
	for n, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		p, url, signal := tr.run(s)
		push(url, keys[0])
		push(url, keys[1])
		written(keys[1])
		push(url, keys...)
		push(url, keys[2])
		push(url, keys[0])
		if n == 0 { // the next start writes so many files that it syncs the file system
			push(url, many...)
		}
		signal(end)
		p.exited()
	}
	return readDisk(s.dir, tr.calls()), w
}

// run starts the program in the environment; signal sends it a signal, not its tracer.
func (tr *trace) run(s *testEnv) (p *process, url string, signal func(syscall.Signal)) {
	tr.t.Helper()
	p = tr.start(s.dir, "-c", s.conf)
	url = p.url()
	file := tr.runs[len(tr.runs)-1].file
	head, err := os.ReadFile(file)
	var pid int
	if _, scanErr := fmt.Sscan(string(head[:min(len(head), 20)]), &pid); err != nil ||
		scanErr != nil {
		tr.t.Fatal(err, scanErr)
	}
	program, err := os.FindProcess(pid)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { _ = program.Kill() })
	return p, url, func(sig syscall.Signal) {
		if err := program.Signal(sig); err != nil {
			tr.t.Fatal(err)
		}
	}
}

// leaveDirectories makes directories of a store and syncs none of them, as a process does that is
// killed at the wrong moment.
func (tr *trace) leaveDirectories(dir, shard string) {
	tr.t.Helper()
	store := filepath.Join(dir, "store")
	p := tr.startOther("mkdir", dir, nil, "-m", "700", store, filepath.Join(store, ".journal"),
		filepath.Join(store, shard))
	<-p.end
	if _, err := os.Stat(filepath.Join(store, shard)); err != nil {
		tr.t.Fatal(err, p.log)
	}
}

// states calls check with every state that a cut at any moment may leave, as far as they are few,
// and with a choice of them where they are many, until it says no. With one sync left out these are
// only the states that it makes possible: what it alone makes durable may be lost.
func (d *disk) states(
	without int, check func(cut int, maybe []int, chosen map[int]int, m image) bool,
) {
	rnd := rand.New(rand.NewPCG(1, uint64(without+1)))
	for _, cut := range d.cuts() {
		sure, maybe := d.durable(cut, without)
		if without >= 0 {
			all, _ := d.durable(cut, -1)
			maybe = slices.DeleteFunc(all, func(i int) bool { return slices.Contains(sure, i) })
			if sure = all; len(maybe) == 0 {
				continue
			}
		}
		base := map[int]int{}
		for _, i := range sure {
			base[i] = present
		}
		for chosen := range d.choices(base, maybe, rnd) {
			if !check(cut, maybe, chosen, d.build(chosen, rnd)) {
				return
			}
		}
	}
}

// cuts are the moments just before each sync has ended and just after each answer has begun to go
// out. At any other moment nothing is possible that is not at the next of these: what may be there
// then may also not be there.
func (d *disk) cuts() []int {
	moments := map[int]bool{}
	for _, b := range d.barriers {
		moments[b.end] = true
	}
	for _, a := range d.answers {
		moments[a+1] = true
	}
	return slices.Sorted(maps.Keys(moments))
}

const few = 40 // states of one cut

// choices gives the variants of what is not durable: all of them together if they are few, else all
// there, none there, each one alone in each variant with the others there or not there, and some at
// random.
func (d *disk) choices(base map[int]int, maybe []int, rnd *rand.Rand) func(func(map[int]int) bool) {
	with := func(fill func(i int) int) map[int]int {
		chosen := maps.Clone(base)
		for _, i := range maybe {
			chosen[i] = fill(i)
		}
		return chosen
	}
	of := func(i int) int { // variants of a change
		if d.changes[i].kind == writing {
			return variants
		}
		return present + 1
	}
	return func(yield func(map[int]int) bool) {
		all := 1
		for _, i := range maybe {
			all = min(all*of(i), few+1)
		}
		if all <= few {
			for n := range all {
				rest := n
				if !yield(with(func(i int) int { v := rest % of(i); rest /= of(i); return v })) {
					return
				}
			}
			return
		}
		for _, others := range []int{absent, present} {
			for _, one := range maybe {
				for v := range of(one) {
					if !yield(with(func(i int) int {
						if i == one {
							return v
						}
						return others
					})) {
						return
					}
				}
			}
		}
		for range 8 {
			if !yield(with(func(i int) int { return rnd.IntN(of(i)) })) {
				return
			}
		}
	}
}

// promises say what is wrong with a store of which this many changes were acknowledged, "" if
// nothing is.
type promises interface {
	kept(store *jwtstore.Dir, answered int) string
	// layouts are the settings of Shard that the next start may have.
	layouts() []bool
}

// judge opens the store on an image and says what is wrong with it, "" if nothing is.
func (d *disk) judge(t *testing.T, w promises, cut int, m image) string {
	for _, shard := range w.layouts() {
		if fault := d.judgeLayout(t, w, cut, m, shard); fault != "" {
			return fmt.Sprintf("with shard %v: %s", shard, fault)
		}
	}
	return ""
}

func (d *disk) judgeLayout(t *testing.T, w promises, cut int, m image, shard bool) string {
	dir, err := os.MkdirTemp(fastDir(), "cut")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := d.lay(m, dir, 0); err != nil {
		t.Fatal(err)
	}
	store, err := jwtstore.OpenDir(context.Background(),
		jwtstore.Options{Dir: filepath.Join(dir, "store"), Shard: shard, Announce: true})
	if err != nil {
		return err.Error()
	}
	defer store.Close()
	answered, _ := slices.BinarySearch(d.answers, cut)
	return w.kept(store, answered)
}

func (w *pushes) layouts() []bool { return []bool{true} }

// kept sees that every JWT that was acknowledged, or a later one, is there and pending.
func (w *pushes) kept(store *jwtstore.Dir, answered int) string {
	if answered == 0 {
		return ""
	}
	for key, n := range w.acked[answered-1] {
		token, _, err := store.Load(key, jwtstore.Stamp{})
		at := slices.IndexFunc(w.tokens[key], func(v []byte) bool { return bytes.Equal(v, token) })
		if err != nil || at < n-1 {
			return fmt.Sprintf("%d JWTs of %s were acknowledged, the store has number %d "+
				"(%.20q), %v", n, key[:6], at+1, token, err)
		}
		if store.Outbox().PendingFor(key).Key != key {
			return fmt.Sprintf("the change of %s is not pending any more", key[:6])
		}
	}
	return ""
}

// fastDir is a file system in memory, if there is one.
func fastDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// worst looks for a state that breaks a promise, with one sync left out.
func (d *disk) worst(t *testing.T, w promises, without int) (fault string, looked int) {
	seen := map[uint64]bool{}
	d.states(without, func(cut int, maybe []int, chosen map[int]int, m image) bool {
		answered, _ := slices.BinarySearch(d.answers, cut)
		h := fnv.New64a()
		fmt.Fprint(h, answered, d.digest(m, 0))
		if seen[h.Sum64()] {
			return true
		}
		seen[h.Sum64()] = true
		looked++
		if fault = d.judge(t, w, cut, m); fault != "" {
			fault = fmt.Sprintf("cut before line %d of the trace, %s: %s", cut,
				d.describe(maybe, chosen), fault)
		}
		return fault == ""
	})
	return fault, looked
}

// describe says what of a state is not as the program left it.
func (d *disk) describe(maybe []int, chosen map[int]int) string {
	var b strings.Builder
	for _, i := range maybe {
		c := d.changes[i]
		what := [...]string{"naming", "renaming", "removing", "writing", "truncating"}[c.kind]
		how := [...]string{"absent", "present", "zeroed", "torn", "sectors lost"}[chosen[i]]
		fmt.Fprintf(&b, "%s %s (line %d, inode %d, %d bytes at %d) is %s; ", what, c.name, c.start,
			c.inode, c.length, c.at, how)
	}
	return b.String()
}

func TestAPowerCutAtAnyMomentLosesNothingThatWasAcknowledged(t *testing.T) {
	d, w := runPushes(t) // alone: a busy machine makes other batches, of which some syncs are not needed
	t.Parallel()
	if len(d.answers) != len(w.acked) {
		t.Fatalf("%d answers in the trace, %d pushes", len(d.answers), len(w.acked))
	}
	d.syncedBeforeTheAnswer(t, w)
	fault, looked := d.worst(t, w, -1)
	if fault != "" {
		t.Error(fault)
	}
	t.Logf("%d changes, %d syncs, %d answers, %d states", len(d.changes), len(d.barriers),
		len(d.answers), looked)
	if looked < 100 {
		t.Errorf("only %d states were looked at", looked)
	}
	d.needed(t, w)
}

// needed is the control: without a sync of each kind some promise is broken.
func (d *disk) needed(t *testing.T, w promises) {
	t.Helper()
	needed := map[string]bool{}
	for i, b := range d.barriers {
		if needed[b.what] {
			continue
		}
		fault, _ := d.worst(t, w, i)
		needed[b.what] = fault != ""
	}
	for what, is := range needed {
		if !is {
			t.Errorf("nothing is lost without the sync of %s: either it is not needed, or this "+
				"test does not see why it is", what)
		}
	}
}

// syncedBeforeTheAnswer sees that each JWT was written to the journal and synced before a client
// was answered.
func (d *disk) syncedBeforeTheAnswer(t *testing.T, w *pushes) {
	t.Helper()
	for n, line := range d.answers {
		for key, count := range w.acked[n] {
			if count > 0 && !d.synced(w.tokens[key][count-1], line) {
				t.Errorf("answer %d went out before number %d of %s was synced", n, count, key[:6])
			}
		}
	}
}

// synced says whether the token was in the journal, and that on the disk, before a line of the
// trace.
func (d *disk) synced(token []byte, before int) bool {
	for _, c := range d.changes {
		if c.kind != writing || c.end > before || !bytes.Contains(c.data, token) {
			continue
		}
		for _, b := range d.barriers {
			if b.inode == c.inode && b.start > c.end && b.end < before &&
				strings.HasPrefix(b.what, ".journal/journal") {
				return true
			}
		}
	}
	return false
}
