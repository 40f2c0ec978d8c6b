package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sample is one measured run of a command.
type sample struct {
	wall, cpu float64 // seconds; cpu of the command and all that it waited for
	memory
	stdout string
}

// memory is what a command and its descendants held, in bytes.
type memory struct {
	largest  int64            // of the largest process: wait4(2), ru_maxrss
	program  map[string]int64 // of the largest process by program: proc(5), VmHWM as last seen
	together int64            // resident in all processes at one time, as seen every tenth of a second
	tmpfs    int64            // rise of the machine's memory file systems meanwhile
}

// measure runs a command to its end. What earlier work left to write is written before.
func (b *bench) measure(name string, args ...string) sample {
	b.Helper()
	unix.Sync()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(b.Context(), name, args...)
	c.Env, c.Dir, c.Stdout, c.Stderr = b.env, b.dir, &stdout, &stderr
	base := shmem()
	began := time.Now()
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	var m memory
	m.program = map[string]int64{}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			m.look(c.Process.Pid)
			m.tmpfs = max(m.tmpfs, shmem()-base)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	err := c.Wait()
	s := sample{wall: time.Since(began).Seconds(), stdout: stdout.String()}
	close(stop)
	<-stopped
	if err != nil {
		b.Fatalf("%s: %v\n%s\n%s", c, err, tail(stdout.String()), tail(stderr.String()))
	}
	s.cpu = (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
	s.memory = m
	s.largest = c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	b.Logf("%6.1f s, %6.1f s of CPU, %4d MiB: %s", s.wall, s.cpu, s.largest>>20, strings.Join(c.Args, " "))
	return s
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// look adds what the processes under root hold now.
func (m *memory) look(root int) {
	parent, resident := map[int]int{}, map[int]int64{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		data, err := os.ReadFile(name)
		_, rest, ok := strings.Cut(string(data), ") ") // a name that holds this itself is no program of ours
		f := strings.Fields(rest)
		if pid, _ := strconv.Atoi(strings.Split(name, "/")[2]); err == nil && ok && len(f) > 21 {
			parent[pid], _ = strconv.Atoi(f[1])
			pages, _ := strconv.ParseInt(f[21], 10, 64)
			resident[pid] = pages * int64(os.Getpagesize())
		}
	}
	sum := int64(0)
	for pid := range parent {
		up := pid
		for up != root && up > 1 {
			up = parent[up]
		}
		if up != root {
			continue
		}
		sum += resident[pid]
		if name, peak := programOf(pid); name != "" {
			if name == programName(root) && pid != root {
				name += ", in its namespace"
			}
			m.program[name] = max(m.program[name], peak)
		}
	}
	m.together = max(m.together, sum)
}

func programName(pid int) string {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
}

// programOf returns the name of a process's program and the most memory that it held.
func programOf(pid int) (string, int64) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return programName(pid), kib << 10
		}
	}
	return "", 0
}

// shmem is the memory in the machine's tmpfs, in bytes.
func shmem() int64 {
	data, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Shmem: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// series is the same thing measured several times.
type series []sample

// repeat measures n times.
func repeat(n int, run func(i int) sample) series {
	var all series
	for i := range n {
		all = append(all, run(i))
	}
	return all
}

// middle is the run of median time.
func (s series) middle() sample {
	sorted := slices.SortedFunc(slices.Values(s), func(x, y sample) int { return int(1e6 * (x.wall - y.wall)) })
	return sorted[len(sorted)/2]
}

func (s series) wall() float64 { return s.middle().wall }

// peak is the largest process of all runs.
func (s series) peak() int64 {
	top := int64(0)
	for _, one := range s {
		top = max(top, one.largest)
	}
	return top
}

// then adds the times of what runs after s, run by run.
func (s series) then(next series) series {
	var sum series
	for i := range min(len(s), len(next)) {
		sum = append(sum, sample{wall: s[i].wall + next[i].wall, cpu: s[i].cpu + next[i].cpu,
			memory: memory{largest: max(s[i].largest, next[i].largest)}})
	}
	return sum
}

// String gives median and range: 25.1 s (24.8–25.6).
func (s series) String() string {
	text := seconds(s.wall())
	if len(s) == 1 {
		return text + " s"
	}
	low, high := s[0].wall, s[0].wall
	for _, one := range s {
		low, high = min(low, one.wall), max(high, one.wall)
	}
	return fmt.Sprintf("%s s (%s–%s)", text, seconds(low), seconds(high))
}

func seconds(n float64) string {
	if n < 10 {
		return fmt.Sprintf("%.2f", n)
	}
	return fmt.Sprintf("%.1f", n)
}
