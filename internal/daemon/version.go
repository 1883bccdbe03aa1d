package daemon

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"

	"nats-account-server/internal/monitor"
)

// Version is what the first line of the log and --version say first.
const Version = "2.0.0"

// What a build without a repository sets, as in -ldflags "-X
// nats-account-server/internal/daemon.commit=…". A build in a repository need not set it.
var (
	commit string // the whole hash
	date   string // of the commit, RFC 3339
)

// Build returns what was built. The commit has twelve digits, which are enough to find it. That of
// changed sources ends in "-dirty". Commit and date are empty if they are not known.
func Build() monitor.Build {
	// These settings exist if the sources were in a repository.
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	recorded := settings["vcs.revision"] // "" in a repository without a commit
	if recorded != "" && settings["vcs.modified"] == "true" {
		recorded += "-dirty"
	}
	hash, suffix, _ := strings.Cut(cmp.Or(commit, recorded), "-")
	return monitor.Build{
		Version: Version,
		Commit:  strings.TrimSuffix(hash[:min(len(hash), 12)]+"-"+suffix, "-"),
		Date:    cmp.Or(date, settings["vcs.time"]),
	}
}

// FullVersion returns the version, and the commit and its date if they are known:
// "2.0.0 (commit 1a2b3c4, 2026-11-28T08:00:00Z)".
func FullVersion() string {
	b := Build()
	switch {
	case b.Commit == "":
		return b.Version
	case b.Date == "":
		return fmt.Sprintf("%s (commit %s)", b.Version, b.Commit)
	}
	return fmt.Sprintf("%s (commit %s, %s)", b.Version, b.Commit, b.Date)
}
