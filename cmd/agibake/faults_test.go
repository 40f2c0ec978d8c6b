package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/bake"
)

// small is the least system that boots: what a bake goes through, in the least time.
const small = `apiVersion: agibake/v1
kind: Appliance
name: small
version: 1.0.0
machine: {disk: 3GiB, systemSize: 2GiB}
outputs: [qcow2]
`

// faults is a host whose bakes are disturbed. Its cache has every input that an undisturbed bake needed, and no stage.
type faults struct {
	*host
	recipe string
	out    string
	want   *bake.Report // of the undisturbed bake
}

func newFaults(t *testing.T) *faults {
	h := newHost(t)
	f := &faults{host: h, recipe: filepath.Join(h.dir, "small.yaml"), out: filepath.Join(h.dir, "out")}
	if err := os.WriteFile(f.recipe, []byte(small), 0o644); err != nil {
		t.Fatal(err)
	}
	h.run(0, "bake", f.recipe, "-o", h.dir+"/undisturbed")
	var err error
	if f.want, err = bake.ReadReport(h.dir + "/undisturbed/small-1.0.0"); err != nil {
		t.Fatal(err)
	}
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	must(t, "mkdir", "-p", f.cache("blobs"))
	must(t, "cp", "-a", user+"/agibake/lists", f.cache(""))
	if exec.Command("cp", "-al", user+"/agibake/blobs/sha256", f.cache("blobs")).Run() != nil { // another file system
		must(t, "cp", "-a", user+"/agibake/blobs/sha256", f.cache("blobs"))
	}
	f.env = append(f.env, "XDG_CACHE_HOME="+h.dir+"/cache")
	return f
}

func (f *faults) cache(name string) string { return filepath.Join(f.dir, "cache", "agibake", name) }

// disturb starts a bake, sends it a signal at a moment (see reached), and returns its exit code and stderr.
func (f *faults) disturb(moment string, s syscall.Signal) (int, string) {
	f.t.Helper()
	c := exec.Command(f.bin, "bake", f.recipe, "-o", f.out)
	said, err := os.Create(f.dir + "/stderr")
	if err != nil {
		f.t.Fatal(err)
	}
	defer said.Close()
	c.Env, c.Stderr, c.SysProcAttr = f.env, said, &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	text := func() string {
		text, _ := os.ReadFile(said.Name())
		return string(text)
	}
	for !f.reached(moment, c.Process.Pid, text()) {
		select {
		case err := <-ended:
			f.t.Fatalf("the bake ended (%v) before the moment %q:\n%s", err, moment, text())
		case <-time.After(5 * time.Millisecond):
		}
	}
	to := c.Process.Pid
	if s == syscall.SIGINT {
		to = -to // as a terminal does
	}
	if err := syscall.Kill(to, s); err != nil {
		f.t.Error(err)
	}
	<-ended
	f.t.Logf("%s at %q: %v", s, moment, c.ProcessState)
	return c.ProcessState.ExitCode(), text()
}

// reached tells whether a bake has come to a moment: "STAGE:" that it reported, "running PROGRAM" among its
// descendants, or "writing GLOB" below the test's folder.
func (f *faults) reached(moment string, pid int, said string) bool {
	what, of, _ := strings.Cut(moment, " ")
	switch what {
	case "running":
		return strings.Contains(descendants(pid), of)
	case "writing":
		paths, _ := filepath.Glob(filepath.Join(f.dir, of))
		for _, p := range paths {
			if info, err := os.Stat(p); err == nil && info.Size() > 0 {
				return true
			}
		}
		return false
	}
	return strings.Contains("\n"+said, "\n"+moment)
}

// descendants returns the command lines of the processes below pid (proc(5)).
func descendants(pid int) string {
	children := map[string][]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, _ := os.ReadFile(name)
		if f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(f) > 1 {
			children[f[1]] = append(children[f[1]], strings.Split(name, "/")[2])
		}
	}
	lines := ""
	for todo := children[fmt.Sprint(pid)]; len(todo) > 0; todo = append(todo[1:], children[todo[0]]...) {
		line, _ := os.ReadFile("/proc/" + todo[0] + "/cmdline")
		lines += strings.ReplaceAll(string(line), "\x00", " ") + "\n"
	}
	return lines
}

// alone requires that no process which a bake started lives on. As their subreaper this process inherits the orphans.
func (f *faults) alone() {
	f.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return
		}
		if pid == 0 && time.Now().After(deadline) {
			text, _ := exec.Command("ps", "--ppid", fmt.Sprint(os.Getpid()), "-o", "pid,args").CombinedOutput()
			f.t.Fatalf("processes live on:\n%s", text)
		}
	}
}

// unmounted requires that no mount of a bake is left.
func (f *faults) unmounted() {
	f.t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		f.t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(f.dir)) {
		f.t.Errorf("mounts are left:\n%s", mounts)
	}
}

// visible lists the names below dir; those of unfinished things are left out unless all is set.
func (f *faults) visible(dir string, all bool) string {
	f.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		unfinished := strings.HasPrefix(e.Name(), ".") || strings.Contains(e.Name(), ".partial-")
		if strings.HasSuffix(e.Name(), ".lock") || unfinished && !all {
			continue
		}
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestE2EFaults disturbs bakes in every way that a host has.
func TestE2EFaults(t *testing.T) {
	f := newFaults(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{{"killed and interrupted", f.disturbed}, {"full disk", f.fullDisk}, {"lost network", f.lostNetwork}} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			c.run(t)
		})
	}
}

// disturbed kills and interrupts bakes at every stage. None leaves anything half-made under a final name, a process or
// a mount; interrupted ones leave nothing at all; and the bake after them gives the bytes of an undisturbed one.
func (f *faults) disturbed(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	lock := bake.LockPath(f.recipe)
	pinned, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range []struct {
		moment string
		how    syscall.Signal
	}{
		{"running apt-get update", syscall.SIGKILL},
		{"running apt-get update", syscall.SIGINT},
		{"rootfs:", syscall.SIGKILL},
		{"running dpkg --configure", syscall.SIGINT},
		{"running dpkg --configure", syscall.SIGKILL},
		{"writing cache/agibake/stages/rootfs/*/.layer.tar.partial-*", syscall.SIGKILL},
		{"configure:", syscall.SIGKILL}, // from here on the cache has the stage
		{"layout:", syscall.SIGKILL},
		{"disk:", syscall.SIGKILL},
		{"disk:", syscall.SIGINT},
		{"writing out/.small-1.0.0.partial-*/result/.small-1.0.0.qcow2.partial-*", syscall.SIGINT},
		{"writing out/.small-1.0.0.partial-*/result/.small-1.0.0.qcow2.partial-*", syscall.SIGKILL},
	} {
		if i < 2 {
			os.Remove(lock)
		} else if err := os.WriteFile(lock, pinned, 0o644); err != nil {
			t.Fatal(err)
		}
		code, said := f.disturb(d.moment, d.how)
		f.alone()
		f.unmounted()
		stopped := d.how == syscall.SIGINT
		if stopped && (code != 130 || !strings.HasSuffix(said, "agibake: interrupted\n")) {
			t.Errorf("exit code %d:\n%s", code, said)
		}
		if got := f.visible(f.out, stopped); got != "" {
			t.Errorf("the output folder holds %s", got)
		}
		stages := f.visible(f.cache("stages/rootfs"), stopped)
		if early := i < 6; early && stages != "" || !early && len(stages) != 64 {
			t.Errorf("the cache holds the stages %q", stages)
		}
	}
	f.run(0, "bake", f.recipe, "-o", f.out)
	f.sameAsUndisturbed()
	if got := f.visible(f.cache("stages/rootfs"), true); len(got) != 64 {
		t.Errorf("the cache holds the stages %q", got)
	}
}

// sameAsUndisturbed requires the outputs of the undisturbed bake, and nothing beside them.
func (f *faults) sameAsUndisturbed() {
	f.t.Helper()
	if got := f.visible(f.out, true); got != "small-1.0.0" {
		f.t.Errorf("the output folder holds %s", got)
	}
	for _, o := range f.want.Outputs {
		if got := fileSum(f.t, filepath.Join(f.out, "small-1.0.0", o.File)); got != o.SHA256 {
			f.t.Errorf("%s: %s, want %s", o.File, got, o.SHA256)
		}
	}
	got, err := bake.ReadReport(filepath.Join(f.out, "small-1.0.0"))
	if err != nil || got.Rootfs != f.want.Rootfs {
		f.t.Errorf("rootfs image %+v, want %s (%v)", got, f.want.Rootfs, err)
	}
}

// fullDisk bakes with too little room for the output, again when that has grown, and with too little for the cache.
func (f *faults) fullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to mount small file systems")
	}
	mount := func(at string) {
		must(t, "rm", "-rf", at)
		must(t, "mkdir", "-p", at)
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=64m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	}
	full := func(hint string) {
		_, said := f.run(1, "bake", f.recipe, "-o", f.out)
		if !strings.Contains(said, "no space left on device") || !strings.Contains(said, hint) {
			t.Errorf("%q is missing in: %s", hint, said)
		}
		if got := f.visible(f.out, true); got != "" {
			t.Errorf("the output folder holds %s", got)
		}
	}
	mount(f.out)
	full("hint: make room on the disk of " + f.out)
	if err := unix.Mount("tmpfs", f.out, "tmpfs", unix.MS_REMOUNT, "size=4g"); err != nil {
		t.Fatal(err)
	}
	f.run(0, "bake", f.recipe, "-o", f.out)
	f.sameAsUndisturbed()

	f.out += "2"
	mount(f.cache("stages"))
	full("hint: the disk of " + f.cache("stages"))
	if got := f.visible(f.cache("stages/rootfs"), true); got != "" {
		t.Errorf("the cache holds the stages %q", got)
	}
}

// lostNetwork takes the network away: what is cached suffices, and what is not is asked for clearly.
func (f *faults) lostNetwork(t *testing.T) {
	gone := func(code int, out string) string {
		t.Helper()
		_, said := f.exec(code, exec.Command("unshare", "--map-root-user", "--net", f.bin, "bake", f.recipe, "-o", out))
		return said
	}
	gone(0, f.dir+"/undisturbed")
	f.env, f.out = append(f.env, "XDG_CACHE_HOME="+f.dir+"/empty"), f.dir+"/never"
	said := gone(1, f.out)
	if !strings.Contains(said, ".deb: dial tcp: lookup archive.ubuntu.com") || !strings.Contains(said, "hint: check the network") {
		t.Errorf("a download says %s", said)
	}
	if err := os.Remove(bake.LockPath(f.recipe)); err != nil {
		t.Fatal(err)
	}
	if said = gone(1, f.out); !strings.Contains(said, "the archive cannot be reached") || !strings.Contains(said, "hint: check the network") {
		t.Errorf("the package lists say %s", said)
	}
	if got := f.visible(f.out, true); got != "" {
		t.Errorf("the output folder holds %s", got)
	}
}
