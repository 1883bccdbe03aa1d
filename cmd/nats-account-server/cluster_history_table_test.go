//go:build unix

package main_test

import (
	"strings"
	"testing"
	"time"
)

// historyText builds a history from short sentences, one moment after the other. The versions of
// account A are numbered from 0, and their iat are 10, 20, 30, 40; version 4 is the first one of
// account B. Each sentence is "what server version", where server and version are digits:
//
//	begin 1 0     account server 1 gets a push of version 0, and the answer follows later as one of
//	stored 1 0    stored, unknown, refused, lacking ("not stored")
//	bucket 0 0    the bucket takes version 0
//	read 1 0      a read of account A that found version 0; "read 1 -" found nothing
//	failed 1 0    a read of the account of version 0 that failed
//	told 1 0      NATS was told of version 0
//	start 1 0     a process was started
func historyText(t *testing.T, text string) *clusterHistory {
	t.Helper()
	h := &clusterHistory{}
	for _, iat := range []int64{10, 20, 30, 40} {
		h.versions = append(h.versions, madeVersion{"A", iat})
	}
	h.versions = append(h.versions, madeVersion{"B", 10})
	now := time.Unix(1000, 0)
	for server := range 4 {
		h.starts = append(h.starts, processStart{server, now})
	}
	began := map[string]time.Time{}
	ends := map[string]pushEnd{"stored": isStored, "unknown": isUnknown, "refused": isRefused,
		"lacking": notStored}
	for sentence := range strings.SplitSeq(text, ", ") {
		now = now.Add(time.Second)
		word := strings.Fields(sentence)
		server, version := int(word[1][0]-'0'), nothing
		if word[2] != "-" {
			version = int(word[2][0] - '0')
		}
		switch word[0] {
		case "begin":
			began[word[1]+word[2]] = now
		case "bucket":
			h.stream = append(h.stream, revision{uint64(len(h.stream) + 1), version, now})
		case "read":
			h.reads = append(h.reads, madeRead{server, "A", version, false, now, now})
		case "failed":
			h.reads = append(h.reads, madeRead{server, h.versions[version].account, nothing, true,
				now, now})
		case "told":
			h.told = append(h.told, toldVersion{server, version, "update", now})
		case "start":
			h.starts = append(h.starts, processStart{server, now})
		default:
			end, isKnown := ends[word[0]]
			if !isKnown {
				t.Fatalf("%q is no sentence", sentence)
			}
			h.pushes = append(h.pushes, sentPush{server, version, end, began[word[1]+word[2]], now})
		}
	}
	return h
}

const goodStart = "begin 1 0, bucket 0 0, stored 1 0, begin 1 1, bucket 0 1, stored 1 1, "

// Each row is a history with one fault, and what is said about it.
func TestTheHistoryCheckerFindsEachFault(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, history, want string }{
		{"an acknowledged version is lost", "begin 1 0, stored 1 0", "the bucket has not got it"},
		{"it is acknowledged before it is there", "begin 1 0, stored 1 0, bucket 0 0",
			"before the bucket had it"},
		{"a version that was not stored appears", "begin 1 0, bucket 0 0, lacking 1 0",
			"no push may have stored it"},
		{"it appears, and is pushed again only then",
			"begin 1 0, lacking 1 0, bucket 0 0, begin 2 0, stored 2 0",
			"no push may have stored it"},
		{"a refused version appears", goodStart + "begin 1 0, refused 1 0, bucket 0 2, begin 1 2, " +
			"begin 1 3, refused 1 3", "no push may have stored it"},
		{"a version that no client pushed appears", "bucket 0 0", "no push may have stored it"},
		{"a version is refused for no reason", goodStart + "begin 1 2, refused 1 2",
			"nothing newer was ever stored"},
		{"the newer one came later than the refusal",
			"begin 1 0, refused 1 0, begin 1 1, bucket 0 1, stored 1 1",
			"nothing newer was ever stored"},
		{"a version is there twice", goodStart + "bucket 0 1", "is in the bucket again"},
		{"a key goes back", "begin 1 1, bucket 0 1, stored 1 1, begin 2 0, bucket 0 0, stored 2 0",
			"the bucket goes back"},
		{"a server goes back", goodStart + "read 2 1, read 2 0", "served version 0"},
		{"a server serves less than it acknowledged", goodStart + "read 1 0", "served version 0"},
		{"a server forgets", goodStart + "read 2 1, start 2 0, read 2 -", "served nothing"},
		{"a server fails to serve what it has", goodStart + "read 2 1, failed 2 1",
			"failed to serve A"},
		{"a server serves what the bucket has not got", "begin 1 0, unknown 1 0, read 1 0",
			"which the bucket has not got"},
		{"an old one is told after a start", goodStart + "start 2 0, told 2 0",
			"told NATS of version 0"},
		{"it finds nothing after a start", goodStart + "start 2 0, read 2 -", "found nothing of A"},
	} {
		got := strings.Join(historyText(t, row.history).faults(), "\n")
		if !strings.Contains(got, row.want) {
			t.Errorf("%s: it says %q, want %q", row.name, got, row.want)
		}
	}
}

func TestTheHistoryCheckerAllowsWhatLooksOddAndIsRight(t *testing.T) {
	t.Parallel()
	for name, history := range map[string]string{
		"nothing happened":                      "start 1 0",
		"another server is behind":              goodStart + "read 1 1, read 2 0, read 3 -, read 2 1",
		"an outcome was unknown, and it is not": "begin 1 0, unknown 1 0, read 1 -",
		"an outcome was unknown, and it comes late": "begin 1 0, unknown 1 0, read 1 -, bucket 0 0, " +
			"read 1 0",
		"it was not stored, and is pushed again": "begin 1 0, lacking 1 0, begin 2 0, bucket 0 0, " +
			"stored 2 0",
		"it was stored already": "begin 1 0, bucket 0 0, unknown 1 0, begin 2 0, stored 2 0",
		"two pushes overlap":    "begin 1 0, begin 2 1, bucket 0 1, refused 1 0, stored 2 1",
		"a server told an old one that it could not know better, and was started before": "start 2 0, " +
			goodStart + "told 2 0, told 2 1",
		"a read fails before anything was served": goodStart + "start 2 0, failed 2 0, read 2 0",
		"it was stored, replaced, and refused then": "begin 1 0, bucket 0 0, begin 2 1, bucket 0 1, " +
			"stored 2 1, refused 1 0",
		"accounts do not concern each other": goodStart + "begin 2 4, bucket 0 4, stored 2 4",
	} {
		if got := historyText(t, history).faults(); len(got) > 0 {
			t.Errorf("%s: it says %q", name, got)
		}
	}
}
