package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// TestAPackLeavesOutWhatCantBeRead: a plain file has a shard's name, one shard can't be read, and a
// new replica gets all the rest.
func TestAPackLeavesOutWhatCantBeRead(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	shards := map[string]string{} // the account in it
	var lost string
	for len(shards) < 5 {
		a := jwttest.NewAccount(t)
		if shard := a.ID[54:]; shards[shard] == "" && shard != "22" { // that is a plain file below
			lost = shard
			shards[lost] = a.ID
			mustPush(t, url, a.ID, s.op.Account(t, a))
		}
	}
	p.term() // writes every file
	shard := filepath.Join(s.dir, "store", lost)
	plain := filepath.Join(s.dir, "store", "22")
	if err := os.Rename(shard, shard+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(lost, shard); err != nil { // in a circle: nothing can be read behind it
		t.Fatal(err)
	}
	jwttest.File(t, s.dir, "store/22", []byte("22"))
	p, url = s.start(t)
	has := func(url string, want int) {
		t.Helper()
		status, body := get(t, url+"/jwt/v1/pack")
		keys := map[string]bool{}
		for line := range strings.Lines(body) {
			key, _, _ := accounts.CutPackLine([]byte(line))
			keys[key] = true
		}
		if status != http.StatusOK || len(keys) != want || keys[shards[lost]] != (want == 5) {
			t.Errorf("%d %q", status, body)
		}
	}
	has(url, 4)
	has(url, 4)
	f := followerOf(t, s, url, "", "")
	follower, copied := f.start(t)
	follower.wait("initialized from primary, 4 accounts are newer than before")
	has(copied, 4)
	p.wantOnce("3 directories and files of the store can't be read, and what is in them is in " +
		"no pack: mend or remove them; the first is ")
	for _, path := range []string{plain, shard} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(shard+".aside", shard); err != nil {
		t.Fatal(err)
	}
	has(url, 5)
	p.wait("the whole store can be read again")
	follower.term()
	p.term()
}
