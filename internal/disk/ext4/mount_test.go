package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

// mounted mounts an image with the kernel's own ext4 and returns the folder and the loop device, or skips loudly where
// that cannot be done. AGIBAKE_REQUIRE_TOOLS does not force it: containers in CI have no loop devices.
func mounted(t *testing.T, img string) (dir, loop string, unmount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: not root, the kernel was not asked")
	}
	out, err := exec.Command("losetup", "-f", "--show", img).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: no loop device, the kernel was not asked: %s", out)
	}
	loop, dir = strings.TrimSpace(string(out)), t.TempDir()
	detach := func() { exec.Command("losetup", "-d", loop).Run() }
	if out, err := exec.Command("mount", "-t", "ext4", loop, dir).CombinedOutput(); err != nil {
		detach()
		if strings.Contains(string(out), "permission denied") || strings.Contains(string(out), "unknown filesystem") {
			t.Skipf("SKIPPED: no mount, the kernel was not asked: %s", out)
		}
		t.Fatalf("mount: %v: %s", err, out)
	}
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
		detach()
	}
	t.Cleanup(unmount)
	return dir, loop, unmount
}

// TestKernel asks the kernel for everything that was written, lets it change and grow the file system, and has e2fsck
// look at the result.
func TestKernel(t *testing.T) {
	tr := sample(t)
	o := sized(160 << 20)
	o.ReservedPercent = 1
	img := image(t, tr, o)
	if err := os.Truncate(img, 700<<20); err != nil {
		t.Fatal(err)
	}
	dir, loop, unmount := mounted(t, img)
	compareMounted(t, tr, dir)
	change(t, dir)
	out, err := referee.Command(t, "resize2fs", loop).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "Permission denied") {
		t.Errorf("resize2fs while mounted: %v: %s", err, out)
	} else if err != nil {
		t.Log("SKIPPED: no CAP_SYS_RESOURCE, growth while mounted was not tried")
	}
	var st unix.Statfs_t
	if e := unix.Statfs(dir, &st); e != nil || err == nil && st.Blocks*uint64(st.Bsize) < 600<<20 {
		t.Errorf("not grown: %d blocks, %v", st.Blocks, e)
	}
	unmount()
	referee.Run(t, "e2fsck", "-fn", img)
}

// change adds, removes and renames files in an indexed folder.
func change(t *testing.T, dir string) {
	t.Helper()
	for i := range 3000 {
		name := filepath.Join(dir, "many", fmt.Sprintf("new-%d", i))
		err := os.WriteFile(name, []byte(name), 0o600)
		if err == nil && i%3 == 0 {
			err = os.Remove(filepath.Join(dir, "many", fmt.Sprintf("file-%d", i)))
		}
		if err == nil && i%5 == 0 {
			err = os.Rename(name, name+strings.Repeat("r", 100))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("y"), 20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(dir, "xattr/large"), "user.other", []byte("changed"), 0); err != nil {
		t.Error(err)
	}
}

// compareMounted holds every entry of tr against what lstat, read, readlink and lgetxattr say.
func compareMounted(t *testing.T, tr *tree.Tree, dir string) {
	t.Helper()
	names := 0
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error { names++; return err })
	if want := tr.Len() + 1; err != nil || names != want {
		t.Errorf("%d names with lost+found, want %d (%v)", names, want, err)
	}
	for _, e := range tr.Entries() {
		if err := compareEntry(tr, e, filepath.Join(dir, e.Path)); err != nil {
			t.Errorf("%.60s: %v", e.Path, err)
		}
	}
}

func compareEntry(tr *tree.Tree, e *tree.Entry, p string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return err
	}
	root := strings.TrimSuffix(p, e.Path)
	for e.Type == tree.Hardlink {
		var to unix.Stat_t
		if err := unix.Lstat(root+e.Link, &to); err != nil || to.Ino != st.Ino {
			return fmt.Errorf("is not the file %s", e.Link)
		}
		e = tr.Lookup(e.Link)
	}
	if got, want := st.Mode, uint32(modeBits[e.Type])|e.Mode; got != want {
		return fmt.Errorf("mode %o, want %o", got, want)
	}
	if int(st.Uid) != e.UID || int(st.Gid) != e.GID || st.Mtim.Sec != e.ModTime || st.Ctim.Sec != e.ModTime {
		return fmt.Errorf("owner %d:%d time %d, want %d:%d %d", st.Uid, st.Gid, st.Mtim.Sec, e.UID, e.GID, e.ModTime)
	}
	switch e.Type {
	case tree.File:
		return compareContent(e, p)
	case tree.Symlink:
		if link, err := os.Readlink(p); link != e.Link {
			return fmt.Errorf("link to %q, want %q (%w)", link, e.Link, err)
		}
	case tree.Char, tree.Block:
		if unix.Major(st.Rdev) != e.Major || unix.Minor(st.Rdev) != e.Minor {
			return fmt.Errorf("device %x", st.Rdev)
		}
	}
	return compareXattrs(e, p)
}

func compareContent(e *tree.Entry, p string) error {
	got, err := os.Open(p)
	if err != nil {
		return err
	}
	defer got.Close()
	want := io.Reader(bytes.NewReader(nil))
	if e.Open != nil {
		if want, err = e.Open(); err != nil {
			return err
		}
	}
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err1 := io.ReadFull(got, a)
		m, err2 := io.ReadFull(want, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return errors.New("content differs")
		}
		if err1 != nil || err2 != nil {
			return compareXattrs(e, p)
		}
	}
}

func compareXattrs(e *tree.Entry, p string) error {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(p, list)
	if err != nil {
		return err
	}
	if got := bytes.Count(list[:n], []byte{0}); got != len(e.Xattrs) {
		return fmt.Errorf("extended attributes %q, want %d", list[:n], len(e.Xattrs))
	}
	for name, want := range e.Xattrs {
		value := make([]byte, 5000)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil || string(value[:n]) != want {
			return fmt.Errorf("extended attribute %s is %q, want %q (%w)", name, value[:max(0, n)], want, err)
		}
	}
	return nil
}
