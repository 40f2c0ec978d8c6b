package live

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process that was stopped.
type Process struct {
	PID   int
	Name  string
	start string // in clock ticks since boot: tells it from a later process with the same id
}

// procStat is what we need of /proc/PID/stat (proc_pid_stat(5)).
type procStat struct {
	state  byte
	parent int
	start  string
}

func statOf(path string) (procStat, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return procStat{}, err
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // a name may hold spaces and brackets
	if len(f) < 20 {
		return procStat{}, fmt.Errorf("read %s: too short", path)
	}
	parent, err := strconv.Atoi(f[1])
	return procStat{state: f[0][0], parent: parent, start: f[19]}, err
}

func statPID(pid int) (procStat, error) { return statOf(fmt.Sprintf("/proc/%d/stat", pid)) }

// halted tells whether a state lets a process write no more: stopped, traced, or dead.
func halted(state byte) bool { return strings.IndexByte("TtZXx", state) >= 0 }

// allHalted tells whether each thread of p is halted, or p is gone.
func allHalted(p Process) bool {
	if st, err := statPID(p.PID); err != nil || st.start != p.start {
		return true
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID))
	for _, t := range tasks {
		if st, err := statOf(t); err == nil && !halted(st.state) {
			return false
		}
	}
	return true
}

// stop sends SIGSTOP to p, which is already known to the guardian.
func stop(p Process) error {
	if st, err := statPID(p.PID); err != nil || st.start != p.start {
		return nil // gone
	}
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop process %d (%s): %w", p.PID, p.Name, err)
	}
	return nil
}

// awaitHalt waits until ps have halted: a thread within a system call stops at its end.
func awaitHalt(ps []Process) error {
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		i := slices.IndexFunc(ps, func(p Process) bool { return !allHalted(p) })
		if i < 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("stop process %d (%s): it does not stop", ps[i].PID, ps[i].Name)
		}
	}
}

// unstoppable are programs that must go on for others to go on.
var unstoppable = []string{
	"dockerd", "containerd", "containerd-shim", "docker-proxy", "runc", "crun", "conmon", "systemd", "systemd-journal", "dbus-daemon",
}

// scanner finds the processes that can write below a folder.
type scanner struct {
	dir    string
	spared map[int]bool
	boxes  []string // ids of containers that stand still: what runs in them needs no signal
	ns     string   // our mount namespace
	inodes map[inode]bool
	device uint64
}

type inode struct{ dev, ino uint64 }

// newScanner returns a scanner for dir, a path without links, that spares this process and its ancestors.
func newScanner(dir string) (*scanner, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", dir, err)
	}
	s := &scanner{dir: dir, spared: map[int]bool{1: true}, device: st.Dev}
	s.ns, _ = os.Readlink("/proc/self/ns/mnt")
	for pid := os.Getpid(); pid > 1 && !s.spared[pid]; {
		s.spared[pid] = true
		st, err := statPID(pid)
		if err != nil {
			break
		}
		pid = st.parent
	}
	return s, nil
}

// below tells whether path lies in dir, or is it.
func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// known tells whether a file is one below the folder, reached by another path: in a container, or through a bind mount.
// The folder is walked once, when this is first asked.
func (s *scanner) known(i inode) bool {
	if s.inodes == nil {
		s.inodes = map[inode]bool{}
		filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					st := info.Sys().(*syscall.Stat_t)
					s.inodes[inode{st.Dev, st.Ino}] = true
				}
			}
			return nil
		})
	}
	return s.inodes[i]
}
