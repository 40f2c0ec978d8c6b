package state

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/referee"
)

// small mounts a file system of 64 MiB, of each kind that can be had here.
func small(t *testing.T, test func(t *testing.T, dir string)) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount a small disk")
	}
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"-t", "tmpfs", "-o", "size=64m", "tmpfs", dir}
			if kind == "ext4" {
				image := filepath.Join(t.TempDir(), "image")
				fatal(t, os.WriteFile(image, nil, 0o600))
				fatal(t, os.Truncate(image, 64<<20))
				referee.Run(t, "mkfs.ext4", "-q", "-m", "0", image)
				args = []string{"-o", "loop", image, dir}
			}
			if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: %s cannot be mounted here: %s", kind, out)
			}
			t.Cleanup(func() {
				if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
					t.Errorf("umount: %s", out)
				}
			})
			test(t, dir)
		})
	}
}

// filler takes what is free on a disk, but for a little.
func filler(t testing.TB, dir string, left int64) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	var s syscall.Statfs_t
	fatal(t, syscall.Statfs(dir, &s))
	f, err := os.Create(path)
	fatal(t, err)
	// Others may take some of it at the same time, and the file system for its tables.
	for size := int64(s.Bavail)*s.Bsize - left; size > 0; size -= 64 << 10 {
		if err = syscall.Fallocate(int(f.Fd()), 0, 0, size); err == nil {
			break
		}
	}
	fatal(t, errors.Join(err, f.Close()))
	return func() { fatal(t, os.Remove(path)) }
}

func full(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("not clear: %v", err)
	}
}

// TestE2EFullDiskCapture: a capture that does not fit says so, harms nothing, and works once there is room.
func TestE2EFullDiskCapture(t *testing.T) {
	referee.E2E(t)
	small(t, func(t *testing.T, disk string) {
		dir, store := mind(t), filepath.Join(disk, "layout")
		l, err := artifact.CreateLayout(store)
		fatal(t, err)
		capturedFrom(t, l, dir, Options{Tags: []string{"base"}})
		for name, size := range map[string]int{"models/new.bin": 20 << 20, "memory/new.dat": 20 << 20} {
			for _, left := range []int64{0, 1 << 20, 7<<20 + 4096} {
				write(t, dir, map[string]string{name: string(noise(uint64(left), size))})
				free := filler(t, disk, left)
				_, err := captureOnto(t.Context(), l, dir, t.TempDir())
				full(t, err)
				free()
				whole(t, store, "base")
				if _, err := l.Resolve(t.Context(), "next"); err == nil {
					t.Error("it has a name")
				}
			}
			fatal(t, os.WriteFile(filepath.Join(dir, name), noise(5, 9<<20), 0o644))
			if _, err := l.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := captureOnto(t.Context(), l, dir, t.TempDir())
			fatal(t, err)
			whole(t, store, "base", "next")
			fatal(t, l.Delete(t.Context(), resolved(t, store, "next").Digest))
			fatal(t, os.Remove(filepath.Join(dir, name)))
			_, err = l.Sweep(t.Context())
			fatal(t, err)
		}
		readOnly(t, disk, func() {
			if _, err := captureOnto(t.Context(), l, dir, t.TempDir()); !errors.Is(err, syscall.EROFS) {
				t.Errorf("not clear: %v", err)
			}
			whole(t, store, "base")
		})
	})
}

func readOnly(t testing.TB, disk string, test func()) {
	t.Helper()
	referee.Run(t, "mount", "-o", "remount,ro", disk)
	defer referee.Run(t, "mount", "-o", "remount,rw", disk)
	test()
}

// TestE2EFullDiskRestore: the state stays what it is, and what was restored is gone on with once there is room.
func TestE2EFullDiskRestore(t *testing.T) {
	referee.E2E(t)
	small(t, func(t *testing.T, disk string) {
		dir, l := mind(t), layout(t)
		x := snapshot(t, l, capturedFrom(t, l, dir, Options{}))
		root := filepath.Join(disk, "core")
		write(t, root, map[string]string{"boot/startup.txt": "old"})
		old := treeOf(t, root)
		free := filler(t, disk, 5<<20)
		_, err := x.Restore(t.Context(), l, x.Staging(root), RestoreOptions{}) // known before
		if err == nil || !strings.Contains(err.Error(), "bytes are needed") {
			t.Errorf("not clear: %v", err)
		}
		free()
		var once atomic.Bool
		_, err = x.Restore(t.Context(), l, x.Staging(root), RestoreOptions{Progress: func(progress.Event) { // and not
			if once.CompareAndSwap(false, true) {
				free = filler(t, disk, 1<<20)
			}
		}})
		full(t, err)
		if treeOf(t, root) != old {
			t.Error("the state changed")
		}
		free()
		r, err := x.Restore(t.Context(), l, x.Staging(root), RestoreOptions{})
		fatal(t, err)
		if r.Kept == 0 {
			t.Error("nothing was kept")
		}
		_, err = Switch(x.Staging(root), root, time.Now())
		fatal(t, err)
		if treeOf(t, root) != x.Info.Tree || kept(t, root)[0] != old {
			t.Error("it is something else")
		}
		readOnly(t, disk, func() {
			if _, err := x.Restore(t.Context(), l, x.Staging(root), RestoreOptions{}); !errors.Is(err, syscall.EROFS) {
				t.Errorf("not clear: %v", err)
			}
		})
	})
}
