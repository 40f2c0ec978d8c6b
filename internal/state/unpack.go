package state

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Unpacked says what Unpack found.
type Unpacked struct {
	Root     string    // the folder with the state
	Top      string    // its path in the archive, "." if the archive has no folder around it
	Files    int       // of the state
	Bytes    int64     // of them
	Lists    []string  // paths in the archive of lists of sums, all of which hold
	Unlisted int       // files that no list vouches for
	Outside  []string  // files and links beside the state, which are no part of it
	Time     time.Time // of the latest change, as the archive has it
}

// Unpack writes the state in an archive, made by Export or by hand with tar, to a new folder dir. The archive is hostile:
// names that lead out, links out, devices, names that come twice and more bytes than there is room for are refused with
// errors of kind fault.Untrusted, and so are lists of sums that do not hold. What cannot be read is fault.Input.
func Unpack(ctx context.Context, file, dir string, p progress.Func) (*Unpacked, error) {
	u := &unpacker{ctx: ctx, p: p, seen: map[string]*member{}}
	if err := u.run(file, dir); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	return &u.Unpacked, nil
}

// member is a name in an archive.
type member struct {
	kind     Kind
	implied  bool // a folder that the archive does not name
	mode     uint32
	uid, gid int
	target   string // of a link
	size     int64
	md5      []byte
	sha256   []byte
	listed   bool
}

type unpacker struct {
	Unpacked
	ctx   context.Context
	p     progress.Func
	root  *os.Root
	seen  map[string]*member
	names int64 // bytes of names and targets
	room  int64 // bytes that may still be announced
	buf   []byte
}

func (u *unpacker) run(file, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var err error
	if u.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer u.root.Close()
	var free unix.Statfs_t
	if err := unix.Statfs(dir, &free); err != nil {
		return err
	}
	u.room, u.buf = int64(free.Bavail)*free.Bsize, make([]byte, sumStep)
	a, err := openArchive(u.ctx, file, u.p)
	if err != nil {
		return err
	}
	err = u.members(a)
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	return u.settle(dir)
}

// Sync brings what was unpacked to the disk, which Switch wants before it.
func (u *Unpacked) Sync() error { return flush(u.Root) }

// members writes what is in the archive.
func (u *unpacker) members(a *archive) error {
	t := tar.NewReader(a)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return a.drain()
		}
		if err != nil {
			return a.unreadable(err, n == 0)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := u.member(a, t, h); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

func hostile(format string, args ...any) error {
	return fault.Mark(fault.Untrusted, fmt.Errorf(format, args...))
}

func (u *unpacker) member(a *archive, t *tar.Reader, h *tar.Header) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	m := &member{mode: uint32(h.Mode) & modeBits, uid: h.Uid, gid: h.Gid, target: h.Linkname, size: h.Size}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return hostile("it takes the place of the whole state")
		}
		return nil
	}
	if old := u.seen[name]; old != nil && !(old.implied && h.Typeflag == tar.TypeDir) {
		return fault.Hint(hostile("it comes twice"), "pack the state anew: tar -r and -u add to an archive what is in it already")
	}
	if err := u.parents(name); err != nil {
		return err
	}
	if h.ModTime.After(u.Time) {
		u.Time = h.ModTime
	}
	if err := u.charge(name, m); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		m.kind = Dir
		err = u.folder(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		m.kind = File
		err = u.file(a, t, name, m)
	case tar.TypeSymlink:
		m.kind = Link // made at the end: nothing can be written through it
	case tar.TypeLink:
		err = u.hardLink(name, m)
	default:
		err = hostile("it is no file, folder or link, and no part of a state")
	}
	u.seen[name] = m
	return err
}

// inside cleans a name of the archive. Those that lead out of it are refused.
func inside(name string) (string, error) {
	clean := path.Clean(name)
	if path.IsAbs(name) {
		return "", fault.Hint(hostile("its name is absolute"), "pack it with tar -C FOLDER … .")
	}
	if strings.Contains("/"+name+"/", "/../") || clean != "." && !validPath(clean) {
		return "", hostile("its name leads out of the archive, or is none")
	}
	return clean, nil
}

// charge holds what is announced against what there is room for, before anything is written.
func (u *unpacker) charge(name string, m *member) error {
	if u.names += int64(len(name) + len(m.target)); u.names > maxTree || len(u.seen) > maxEntries {
		return hostile("the archive has more names than a state can have")
	}
	if m.uid < 0 || m.gid < 0 || m.uid >= math.MaxUint32 || m.gid >= math.MaxUint32 {
		return hostile("nobody has the number %d:%d", m.uid, m.gid)
	}
	if m.size < 0 || m.size > u.room {
		return fault.Hint(hostile("it says that it has %d bytes, and %d are free", m.size, max(u.room, 0)), "make room, if the archive is one that you trust")
	}
	u.room -= m.size
	return nil
}

// parents makes the folders that a name lies in.
func (u *unpacker) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if m := u.seen[dir]; m != nil {
		if m.kind != Dir {
			return hostile("%.200q, in which it lies, is no folder", dir)
		}
		return nil
	}
	if err := u.parents(dir); err != nil {
		return err
	}
	m := &member{kind: Dir, implied: true, mode: 0o755}
	if err := u.charge(dir, m); err != nil {
		return err
	}
	u.seen[dir] = m
	return u.root.Mkdir(dir, 0o700)
}

func (u *unpacker) folder(name string) error {
	if err := u.root.Mkdir(name, 0o700); err != nil && (u.seen[name] == nil || !errors.Is(err, fs.ErrExist)) {
		return err
	}
	return nil
}
