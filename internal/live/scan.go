package live

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// writers lists the running processes that hold a file below the folder open for writing, or mapped so, as far as this
// user may see (proc_pid_fd(5)).
func (s *scanner) writers() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || s.spared[pid] || !s.writes(pid) {
			continue
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		p := Process{PID: pid, Name: strings.TrimSpace(string(name))}
		st, err := statPID(pid)
		if err != nil || halted(st.state) || slices.Contains(unstoppable, p.Name) || s.boxed(pid) {
			continue
		}
		p.start = st.start
		list = append(list, p)
	}
	return list, nil
}

// boxed tells whether a process runs in a container that stands still: its control group has the container's id.
func (s *scanner) boxed(pid int) bool {
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return slices.ContainsFunc(s.boxes, func(id string) bool { return strings.Contains(string(groups), id) })
}

func (s *scanner) writes(pid int) bool {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return false // gone, a kernel thread, or another user's
	}
	ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	for _, fd := range fds {
		path := fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())
		target, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "/dev/") || !writable(pid, fd.Name()) {
			continue
		}
		if ns == s.ns && below(target, s.dir) {
			return true
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Dev == s.device && s.known(inode{st.Dev, st.Ino}) {
			return true
		}
	}
	return s.maps(pid, ns == s.ns)
}

// writable reads the access mode of a descriptor (proc_pid_fdinfo(5)).
func writable(pid int, fd string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		return false
	}
	_, flags, _ := strings.Cut(string(text), "flags:")
	flags, _, _ = strings.Cut(flags, "\n")
	n, err := strconv.ParseUint(strings.TrimSpace(flags), 8, 64)
	return err == nil && n&syscall.O_ACCMODE != syscall.O_RDONLY
}

// maps tells whether a process has a file below the folder in its memory, shared and writable (proc_pid_maps(5)).
func (s *scanner) maps(pid int, sameNS bool) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		part := strings.Fields(lines.Text())
		if len(part) < 6 || len(part[1]) < 4 || part[1][1] != 'w' || part[1][3] != 's' {
			continue
		}
		_, path, _ := strings.Cut(lines.Text(), " /")
		if sameNS && below("/"+path, s.dir) {
			return true
		}
		var major, minor uint32
		fmt.Sscanf(part[3], "%x:%x", &major, &minor)
		ino, _ := strconv.ParseUint(part[4], 10, 64)
		if dev := unix.Mkdev(major, minor); dev == s.device && s.known(inode{dev, ino}) {
			return true
		}
	}
	return false
}
