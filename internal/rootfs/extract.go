package rootfs

import (
	"archive/tar"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// extraction is one pass over one package's data archive.
type extraction struct {
	*unpacker
	deb  *deb
	rank int
	only map[string]bool // nil means everything; else just these paths, which are then written over what stands there
	buf  []byte

	dir   string // the folder that dirFD is, to save looking it up for each of its files
	dirFD int
}

// extract reads the data archive of a package and writes what it claims.
func (u *unpacker) extract(ctx context.Context, d *deb, rank int, only map[string]bool) error {
	data, err := decompress(ctx, d.data)
	if err != nil {
		return err
	}
	defer data.Close()
	x := &extraction{unpacker: u, deb: d, rank: rank, only: only, buf: make([]byte, 256<<10), dirFD: -1}
	defer x.leave()
	if only == nil {
		d.readConffiles()
	}
	for t := tar.NewReader(data); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = x.entry(h, t)
		}
		if err != nil {
			return err
		}
	}
	// The archive's padding belongs to the compressed stream, whose checksum comes last.
	_, err = io.Copy(io.Discard, data)
	return err
}

// readConffiles lists the package's configuration files (deb-conffiles(5)); their digests follow as they are written.
func (b *deb) readConffiles() {
	c := b.script("conffiles")
	if c == nil {
		return
	}
	for line := range strings.Lines(string(c.data)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") {
			b.conffiles[line] = ""
		}
	}
}

func (x *extraction) entry(h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if slices.Contains(strings.Split(h.Name, "/"), "..") || strings.ContainsAny(h.Name, "\n\x00") {
		return inputError("bad path %q", h.Name)
	}
	if x.only == nil {
		x.deb.list = append(x.deb.list, "/"+listName(name))
	}
	target := mergedPath(name)
	if name == "" || target == "usr/"+name && !strings.Contains(name, "/") {
		return x.top(name, h)
	}
	// Seconds are what a layer keeps; a time after the epoch would make compiled Python files look stale later.
	c := claim{deb: x.rank, dir: h.Typeflag == tar.TypeDir, mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid}
	mtime := min(h.ModTime.Unix(), x.epoch)
	switch {
	case x.only == nil:
		write, err := x.claim(target, c, mtime)
		if err != nil || !write {
			return err
		}
	case !x.only[target]:
		return nil
	default:
		x.claims[target], x.times[target] = c, mtime
		if err := x.root.removeAll(target); err != nil {
			return err
		}
	}
	if err := x.enter(path.Dir(target)); err != nil {
		return err
	}
	if err := x.create(h, target, c, mtime, r); err != nil {
		return fmt.Errorf("/%s: %w", target, err)
	}
	return nil
}

func listName(name string) string {
	if name == "" {
		return "."
	}
	return name
}

// top handles the root and the merged folders: they stand already.
func (x *extraction) top(name string, h *tar.Header) error {
	switch {
	case h.Typeflag == tar.TypeDir:
		return nil
	case h.Typeflag == tar.TypeSymlink && strings.TrimPrefix(h.Linkname, "/") == "usr/"+name:
		x.mu.Lock()
		defer x.mu.Unlock()
		x.links[name] = true
		return nil
	}
	return inputError("/%s is neither a folder nor the link to usr/%s", name, name)
}

func (x *extraction) create(h *tar.Header, name string, c claim, mtime int64, r io.Reader) error {
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeDir:
		err := unix.Mkdirat(x.dirFD, base, 0o755)
		if err == unix.EEXIST {
			return nil // made as the parent of a file, or a link to a folder, which dpkg keeps
		}
		return err
	case tar.TypeReg:
		return x.file(h, name, c, mtime, r)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, x.dirFD, base); err != nil {
			return err
		}
		return x.sealLink(base, c, mtime)
	case tar.TypeLink:
		return x.hardlink(h.Linkname, base)
	}
	return inputError("has type %q, which no package may ship", h.Typeflag)
}

func (x *extraction) sealLink(base string, c claim, mtime int64) error {
	if c.uid != 0 || c.gid != 0 {
		if err := unix.Fchownat(x.dirFD, base, c.uid, c.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	t := unix.Timespec{Sec: mtime}
	return unix.UtimesNanoAt(x.dirFD, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func (x *extraction) hardlink(link, base string) error {
	to := mergedPath(strings.TrimPrefix(path.Clean("/"+link), "/"))
	x.mu.Lock()
	c, ok := x.claims[to]
	x.mu.Unlock()
	if !ok || c.deb != x.rank {
		return inputError("is a hard link to /%s, which the package does not ship", to)
	}
	dir, target, err := x.root.parent(to)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.Linkat(dir, target, x.dirFD, base, 0)
}

func (x *extraction) file(h *tar.Header, name string, c claim, mtime int64, r io.Reader) error {
	fd, err := unix.Openat(x.dirFD, path.Base(name), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var sum hash.Hash
	shipped := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	_, conf := x.deb.conffiles["/"+shipped]
	own := x.deb.script("md5sums") == nil // dpkg makes the list for a package without one
	if conf || own {
		sum = md5.New()
	}
	if err := x.copy(fd, r, sum); err != nil {
		return err
	}
	if sum != nil && x.only == nil {
		digest := hex.EncodeToString(sum.Sum(nil))
		if conf {
			x.deb.conffiles["/"+shipped] = digest
		} else {
			x.deb.md5 = append(x.deb.md5, digest+"  "+shipped+"\n")
		}
	}
	return seal(fd, name, c.uid, c.gid, c.mode, mtime)
}

func (x *extraction) copy(fd int, r io.Reader, sum hash.Hash) error {
	for {
		n, err := r.Read(x.buf)
		if sum != nil {
			sum.Write(x.buf[:n])
		}
		for b := x.buf[:n]; len(b) > 0; {
			m, err := unix.Write(fd, b)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			b = b[m:]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// enter makes dir the folder to write in.
func (x *extraction) enter(dir string) error {
	if x.dirFD >= 0 && x.dir == dir {
		return nil
	}
	x.leave()
	fd, _, err := x.root.parent(dir + "/x")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return inputError("a file below a link or file of another package: %w", err)
	}
	if err != nil {
		return err
	}
	x.dir, x.dirFD = dir, fd
	return nil
}

func (x *extraction) leave() {
	if x.dirFD >= 0 {
		unix.Close(x.dirFD)
	}
	x.dirFD = -1
}
