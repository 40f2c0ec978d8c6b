package state

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/chunk"
	"github.com/agibake/agibake/internal/referee"
)

// odd adds to a state what file systems allow and programs trip over.
func odd(t testing.TB, dir string, sizes ...int) {
	t.Helper()
	for i, name := range []string{"-rf", "--", "a\nb", `a\b`, "\xff\xfe", " before", "behind ", "\x7f", "\ufffd", "…", "%00", "~", strings.Repeat("я", 127), "*", "con"} {
		write(t, dir, map[string]string{"memory/odd/" + name: fmt.Sprint(i), "models/odd/" + name: "{}"})
	}
	for _, size := range sizes {
		for d := -1; d <= 1; d++ {
			name := fmt.Sprintf("%d", size+d)
			write(t, dir, map[string]string{"memory/" + name: string(noise(uint64(d+8), size+d)), "models/" + name: string(noise(uint64(d+8), size+d))})
		}
	}
	write(t, dir, map[string]string{"docker/locked/in/file": "x", "docker/nobody": "", "memory/sparse": "x", "models/sparse.bin": "x"})
	for _, name := range []string{"memory/sparse", "models/sparse.bin"} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		fatal(t, err)
		_, err = f.WriteAt([]byte("end"), 70<<20)
		fatal(t, err)
		fatal(t, f.Close())
	}
	for name, to := range map[string]string{"here": ".", "dots/...": "..", "up": "../models/odd", "gone": "nothing", "loop": "loop", "slashes": ".//./odd//"} {
		fatal(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, "docker", name)), 0o755))
		fatal(t, os.Symlink(to, filepath.Join(dir, "docker", name)))
	}
	for name, mode := range map[string]os.FileMode{"docker/locked/in": 0o555, "docker/locked": 0o500, "docker/nobody": 0, "memory/odd": 0o755 | os.ModeSetgid, "models/odd": 0o777 | os.ModeSticky, "memory/odd/--": 0o711} {
		fatal(t, os.Chmod(filepath.Join(dir, name), mode))
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, name), 0o755) })
	}
}

// TestOddStates: whatever a file system holds comes back as it was, and is the same snapshot again.
func TestOddStates(t *testing.T) {
	dir := mind(t)
	odd(t, dir, chunk.Min, chunk.Mean, chunk.Max)
	roundTrip(t, dir)
}

func TestE2ELargeStates(t *testing.T) {
	referee.E2E(t)
	dir := mind(t)
	odd(t, dir, LargePiece)
	for i := range 20_000 {
		write(t, dir, map[string]string{fmt.Sprintf("memory/many/%d/%d/%d", i%20, i/20%20, i): fmt.Sprint(i)})
	}
	roundTrip(t, dir)
}

func roundTrip(t *testing.T, dir string) {
	l := layout(t)
	c := capturedFrom(t, l, dir, Options{})
	x := snapshot(t, l, c)
	_, err := x.Verify(t.Context(), l, nil)
	fatal(t, err)
	complete(t, l)
	to := filepath.Join(t.TempDir(), "core")
	for range 2 { // over itself, too
		_, err = x.Restore(t.Context(), l, to, RestoreOptions{})
		fatal(t, err)
	}
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwX", to).Run() })
	sameTree(t, dir, to)
	if again := capturedFrom(t, layout(t), to, Options{}); again.Index.Digest != c.Index.Digest {
		t.Errorf("captured again: %s, not %s", again.Index.Digest, c.Index.Digest)
	}
}

// complete holds that a layout has all blobs that its manifests name, so that it can be pushed.
func complete(t testing.TB, l *artifact.Layout) {
	t.Helper()
	x, err := l.Index(t.Context())
	fatal(t, err)
	list := slices.Clone(x.Manifests)
	for len(list) > 0 {
		d := list[0]
		raw, err := l.Manifest(t.Context(), d)
		fatal(t, err)
		m, err := artifact.Decode(raw, d)
		fatal(t, err)
		list = append(list[1:], m.Manifests...)
		for _, b := range m.Layers {
			if have, err := l.Has(t.Context(), b); !have || err != nil {
				t.Errorf("%s, of type %s in %s, is missing: %v", b.Digest, b.MediaType, d.Digest, err)
			}
		}
	}
}

// TestEqualDigests: equal states are equal snapshots, whoever captures them, when, and how.
func TestEqualDigests(t *testing.T) {
	dir := mind(t)
	odd(t, dir, chunk.Min)
	program := filepath.Join(work, "program")
	fatal(t, os.Chmod(work, 0o755))
	data, err := os.ReadFile(os.Args[0])
	fatal(t, err)
	fatal(t, os.WriteFile(program, data, 0o755))
	open, err := os.MkdirTemp(work, "open-*")
	fatal(t, err)
	fatal(t, os.Chmod(open, 0o777))
	n := 0
	taken := func(state string, c *exec.Cmd, before string) digest.Digest {
		t.Helper()
		n++
		store := filepath.Join(open, fmt.Sprint("store", n))
		sh := fmt.Sprintf("%s; exec %s child capture %s %s %s", before, program, state, store, filepath.Join(open, fmt.Sprint("memos", n)))
		c.Path, c.Args, c.Env = "/bin/sh", []string{"sh", "-c", sh}, append(os.Environ(), c.Env...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return resolved(t, store, "next").Digest
	}
	want := taken(dir, &exec.Cmd{}, "umask 022")
	again := filepath.Join(open, "agi-core")
	reordered(t, dir, again)
	for name, got := range map[string]digest.Digest{
		"umask":           taken(dir, &exec.Cmd{}, "umask 077"),
		"one processor":   taken(dir, &exec.Cmd{Env: []string{"GOMAXPROCS=1"}}, "true"),
		"many processors": taken(dir, &exec.Cmd{Env: []string{"GOMAXPROCS=16", "GOGC=10"}}, "true"),
		"another zone":    taken(dir, &exec.Cmd{Env: []string{"TZ=Pacific/Kiritimati", "LC_ALL=tr_TR"}}, "cd /"),
		"order and times": taken(again, &exec.Cmd{}, "true"),
	} {
		if got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can be somebody else")
	}
	// Only who may read it can capture it.
	fatal(t, os.Chmod(filepath.Join(again, "docker/nobody"), 0o600))
	want = taken(again, &exec.Cmd{}, "true")
	fatal(t, exec.Command("chown", "-hR", "65534:65534", again).Run())
	// chown drops the bit.
	fatal(t, os.Chmod(filepath.Join(again, "memory/odd"), 0o755|os.ModeSetgid))
	nobody := &exec.Cmd{SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}}
	if got := taken(again, nobody, "true"); got != want {
		t.Errorf("nobody: %s, not %s", got, want)
	}
}

// reordered copies a state in the other order, years later.
func reordered(t testing.TB, from, to string) {
	t.Helper()
	list, err := Scan(t.Context(), from, ScanOptions{})
	fatal(t, err)
	fatal(t, os.Mkdir(to, 0o755))
	for _, f := range list {
		if f.Kind == Dir {
			fatal(t, os.Mkdir(filepath.Join(to, f.Path), 0o755))
		}
	}
	for i, f := range slices.Backward(list) {
		full := filepath.Join(to, f.Path)
		switch f.Kind {
		case File:
			data, err := os.ReadFile(f.From)
			fatal(t, err)
			fatal(t, os.WriteFile(full, data, 0o600))
		case Link:
			fatal(t, os.Symlink(f.Target, full))
			continue
		}
		fatal(t, os.Chtimes(full, time.Unix(5e8, 0), time.Unix(int64(1e8+i), 5)))
		fatal(t, os.Chmod(full, fileMode(f.Mode)))
	}
}
