package rootfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/epoch"
	"github.com/agibake/agibake/internal/tree"
)

// tree reads the finished root. A file keeps the time its package gave it; everything else gets the epoch, as do
// folders, whose times say only when something in them changed.
func (r *root) tree(limit int64, times map[string]int64) (*tree.Tree, error) {
	w := &walker{root: r, tree: tree.New(), limit: limit, times: times, inodes: map[uint64]string{}}
	return w.tree, w.folder(".")
}

type walker struct {
	*root
	tree   *tree.Tree
	limit  int64
	times  map[string]int64
	inodes map[uint64]string // files with several names → the first of them
}

func (w *walker) folder(name string) error {
	s, err := w.stat(name)
	if err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	e := tree.Entry{Path: name, Type: tree.Dir, Mode: s.Mode & 0o7777, UID: int(s.Uid), GID: int(s.Gid), ModTime: w.limit}
	if e.Xattrs, err = w.xattrs(name); err != nil {
		return err
	}
	if err := w.tree.Put(e); err != nil {
		return err
	}
	names, err := w.readDir(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.entry(path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(name string) error {
	host := filepath.Join(w.dir, name) // no script runs any more: nothing changes under this walk, and Lstat follows no link
	var s unix.Stat_t
	if err := unix.Lstat(host, &s); err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	e := tree.Entry{Path: name, Mode: s.Mode & 0o7777, UID: int(s.Uid), GID: int(s.Gid), ModTime: w.limit}
	if mtime, ok := w.times[name]; ok && mtime == s.Mtim.Sec {
		e.ModTime = epoch.Clamp(mtime, w.limit)
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return w.folder(name)
	case unix.S_IFREG:
		e.Type, e.Size = tree.File, s.Size
		e.Open = func() (io.ReadCloser, error) { return os.Open(host) }
	case unix.S_IFLNK:
		link, err := os.Readlink(host)
		if err != nil {
			return err
		}
		e.Type, e.Link, e.Mode = tree.Symlink, link, 0o777
	case unix.S_IFIFO:
		e.Type = tree.Fifo
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type, e.Major, e.Minor = tree.Char, unix.Major(s.Rdev), unix.Minor(s.Rdev)
		if s.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = tree.Block
		}
	default:
		return nil // a socket says only that a program ran
	}
	if s.Nlink > 1 && e.Type == tree.File {
		if first, ok := w.inodes[s.Ino]; ok {
			e = tree.Entry{Path: name, Type: tree.Hardlink, Link: first}
			return w.tree.Put(e)
		}
		w.inodes[s.Ino] = name
	}
	if e.Type == tree.File {
		var err error
		if e.Xattrs, err = w.xattrs(name); err != nil {
			return err
		}
	}
	return w.tree.Put(e)
}

// xattrs reads the attributes that belong to the tree: file capabilities and what scripts set on purpose.
func (w *walker) xattrs(name string) (map[string]string, error) {
	host := filepath.Join(w.dir, name)
	n, err := unix.Llistxattr(host, nil)
	if err == unix.ENOTSUP || n == 0 && err == nil {
		return nil, nil
	}
	names := make([]byte, n)
	if err == nil {
		n, err = unix.Llistxattr(host, names)
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes of %s: %w", name, err)
	}
	attrs := map[string]string{}
	for key := range bytes.SplitSeq(bytes.TrimRight(names[:n], "\x00"), []byte{0}) {
		k := string(key)
		if k != "security.capability" && !bytes.HasPrefix(key, []byte("user.")) {
			continue // the host's own: SELinux labels, POSIX ACLs of the scratch folder, overlay marks
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(host, k, value)
		if err != nil {
			return nil, fmt.Errorf("read attribute %s of %s: %w", k, name, err)
		}
		attrs[k] = string(value[:n])
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}
