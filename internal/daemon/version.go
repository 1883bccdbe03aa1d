package daemon

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
)

// Version is what the first line of the log and --version say first.
const Version = "2.0.0"

// What a build without a repository sets, as in -ldflags "-X
// nats-account-server/internal/daemon.commit=…". A build in a repository need not set it.
var (
	commit string // the whole hash
	date   string // of the commit, RFC 3339
)

// Build returns the commit from which the program was built, and the date of that commit. Both are
// empty if they are not known. A commit of changed sources ends in "-dirty".
func Build() (commitHash, commitDate string) {
	commitHash, commitDate = commit, date
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return commitHash, commitDate
	}
	// These settings exist if the sources were in a repository.
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	recorded := settings["vcs.revision"]
	if recorded != "" && settings["vcs.modified"] == "true" {
		recorded += "-dirty"
	}
	return cmp.Or(commitHash, recorded), cmp.Or(commitDate, settings["vcs.time"])
}

// FullVersion returns the version, and the commit and its date if they are known:
// "2.0.0 (commit 1a2b3c4, 2026-11-28T08:00:00Z)".
func FullVersion() string {
	_, date := Build()
	commit := shortCommit()
	switch {
	case commit == "":
		return Version
	case date == "":
		return fmt.Sprintf("%s (commit %s)", Version, commit)
	}
	return fmt.Sprintf("%s (commit %s, %s)", Version, commit, date)
}

// shortCommit returns the first twelve digits of the commit: they are enough to find it.
func shortCommit() string {
	commit, _ := Build()
	hash, dirty, isDirty := strings.Cut(commit, "-")
	short := hash[:min(len(hash), 12)]
	if isDirty {
		short += "-" + dirty
	}
	return short
}

// buildDate returns the date of the commit.
func buildDate() string {
	_, date := Build()
	return date
}
