package process

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryShare is which part of a container's memory Go may use before it collects garbage more
// often. The rest is for what Go does not count, such as the pages of files that are mapped.
const memoryShare = 0.9

// LimitMemory lets Go keep within the memory limit of the container or unit that the program runs
// in. It returns a text about that, "" if there is no limit. GOMEMLIMIT comes first: Go has read it
// already. It must be called once, before much memory is used. The soft limit makes Go collect more
// often near it; it does not keep the kernel from ending a process that really needs more.
func LimitMemory() string {
	if os.Getenv("GOMEMLIMIT") != "" {
		return ""
	}
	limit := memoryLimit(os.DirFS("/"))
	if limit == 0 {
		return ""
	}
	soft := int64(float64(limit) * memoryShare)
	debug.SetMemoryLimit(soft)
	return fmt.Sprintf("memory is limited to %d MiB from outside: the soft limit is %d MiB; "+
		"GOMEMLIMIT comes before it", limit>>20, soft>>20)
}

// memoryLimit returns the smallest memory limit of the cgroups that this process is in, in bytes; 0
// means that there is none. root is the file system. The file proc/self/cgroup has a line for each
// hierarchy, such as "0::/system.slice/nas.service" (version 2) or "4:cpu,memory:/docker/1234"
// (version 1). See cgroups(7).
func memoryLimit(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0 // no Linux
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(groups)) {
		// A line is id:controllers:path. The id of version 2 is 0, and it names no controllers.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if fields[0] != "0" || fields[1] != "" {
			if !strings.Contains(","+fields[1]+",", ",memory,") {
				continue
			}
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		least = min(least, leastLimit(root, mount, fields[2], file))
	}
	// Version 1 writes no limit as a number near the largest one.
	if least >= math.MaxInt64/2 {
		return 0
	}
	return least
}

// leastLimit returns the smallest limit of a cgroup and those above it. In a container, the path is
// that of the host, and only the mount itself can be read. mount is where the hierarchy is mounted
// and file what the limit is called in it: memory.max or memory.limit_in_bytes. A limit that can't
// be read is none. math.MaxInt64 means that there is none.
func leastLimit(root fs.FS, mount, group, file string) int64 {
	least := int64(math.MaxInt64)
	for dir := path.Join(mount, path.Clean(group)); ; dir = path.Dir(dir) {
		content, err := fs.ReadFile(root, path.Join(dir, file))
		// The word max is no limit.
		limit, bad := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		if err == nil && bad == nil {
			least = min(least, limit)
		}
		if len(dir) <= len(mount) {
			return least
		}
	}
}
