package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the processor time of all threads of a process so far.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	// The number of a process's clock, as clock_getcpuclockid(3) makes it.
	const perProcess = 2
	var ts unix.Timespec
	check(t, unix.ClockGettime(int32(^pid<<3|perProcess), &ts))
	return time.Duration(ts.Nano())
}

// anonymous is the memory of a process that is not that of files, in MB.
func anonymous(pid int) (mb float64, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, text, found := strings.Cut(string(status), "RssAnon:")
	if err != nil || !found {
		return 0, false
	}
	var kb float64
	_, err = fmt.Sscan(text, &kb)
	return kb / 1024, err == nil
}

// allocated is the disk space of a file in bytes.
func allocated(path string) float64 {
	var s unix.Stat_t
	_ = unix.Lstat(path, &s) // a file that is gone has none
	return 512 * float64(s.Blocks)
}

// endWithUs lets the kernel kill a process when this one ends.
func endWithUs(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// lockCache waits until no other run uses the cache.
func lockCache(t testing.TB) {
	f, err := os.Create(cacheDir(t) + "/lock")
	check(t, err)
	t.Cleanup(func() { _ = f.Close() })
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		fmt.Println("another run uses this BENCH_CACHE: waiting for its end")
		check(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	}
}

// processor names the machine.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	_, name, _ := strings.Cut(string(info), "model name")
	name, _, _ = strings.Cut(strings.TrimLeft(name, "\t :"), "\n")
	var u unix.Utsname
	_ = unix.Uname(&u)
	return fmt.Sprintf("%s, Linux %s", name, unix.ByteSliceToString(u.Release[:]))
}
