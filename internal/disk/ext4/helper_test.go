package ext4

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/tree"
)

// folder reads a real folder into a tree.
func folder(t testing.TB, root string) *tree.Tree {
	t.Helper()
	out := tree.New()
	seen := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		st := info.Sys().(*syscall.Stat_t)
		e := tree.Entry{Path: rel, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), ModTime: st.Mtim.Sec}
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFDIR:
			e.Type = tree.Dir
		case syscall.S_IFLNK:
			e.Type = tree.Symlink
			e.Link, err = os.Readlink(path)
		case syscall.S_IFREG:
			e.Type, e.Size = tree.File, st.Size
			e.Open = func() (io.ReadCloser, error) { return os.Open(path) }
			if first, ok := seen[st.Ino]; ok && st.Nlink > 1 {
				e.Type, e.Size, e.Open, e.Link = tree.Hardlink, 0, nil, first
			}
			seen[st.Ino] = rel
		case syscall.S_IFCHR:
			e.Type, e.Major, e.Minor = tree.Char, unix.Major(st.Rdev), unix.Minor(st.Rdev)
		case syscall.S_IFBLK:
			e.Type, e.Major, e.Minor = tree.Block, unix.Major(st.Rdev), unix.Minor(st.Rdev)
		case syscall.S_IFIFO:
			e.Type = tree.Fifo
		default:
			return nil
		}
		if err != nil {
			return err
		}
		return out.Put(e)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// image writes t to a new sparse file and returns its path.
func image(tb testing.TB, t *tree.Tree, o Options) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "fs.img")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(o.Size); err != nil {
		tb.Fatal(err)
	}
	if err := Write(tb.Context(), f, t, o, nil); err != nil {
		tb.Fatal(err)
	}
	return path
}
