package live

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holds tells whether whoever has locked a file is known, and stands still: then the file does not change, and waiting for
// the lock would be in vain (proc_locks(5)). Locks of open file descriptions name nobody.
func (f *Frozen) holds(path string) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return false
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false
	}
	found := false
	for line := range strings.Lines(string(locks)) {
		part := strings.Fields(line)
		if len(part) < 6 || !slices.Contains(part, file) {
			continue
		}
		pid, err := strconv.Atoi(part[slices.Index(part, file)-1])
		if err != nil || !f.still(pid) {
			return false
		}
		found = true
	}
	return found
}

// still tells whether this freeze has stopped a process, by itself or with its container.
func (f *Frozen) still(pid int) bool {
	if slices.ContainsFunc(f.Stopped, func(p Process) bool { return p.PID == pid }) {
		return true
	}
	return pid > 0 && (&scanner{boxes: f.ids}).boxed(pid)
}
