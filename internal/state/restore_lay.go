package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// clear removes what is not part of the snapshot, or is something else there.
func (r *restore) clear(ctx context.Context) error {
	want := map[string]*Entry{}
	for _, e := range r.list {
		want[e.Path] = e
	}
	var extra []string
	err := fs.WalkDir(r.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil || p == "." {
			return err
		}
		e := want[p]
		if d.IsDir() { // an earlier attempt may have come as far as the modes
			if err := r.root.Chmod(p, 0o700); err != nil || e != nil && e.Kind == Dir {
				return err
			}
		}
		if e != nil && e.Kind == File && d.Type().IsRegular() {
			return nil
		}
		extra = append(extra, p)
		return nil
	})
	for _, p := range extra {
		if err == nil {
			err = r.root.RemoveAll(p)
		}
	}
	return err
}

// lay makes folders and files of the right size, and finds out which pieces are missing.
func (r *restore) lay(ctx context.Context) error {
	for _, e := range r.list {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		switch e.Kind {
		case Dir:
			if err := r.root.Mkdir(e.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		case File:
			if err := r.file(e); err != nil {
				return err
			}
			r.Files++
			r.Bytes += e.Size
		}
	}
	return nil
}

func (r *restore) file(e *Entry) error {
	info, err := r.root.Lstat(e.Path)
	there := err == nil
	if there && info.Mode()&0o600 != 0o600 { // as an earlier attempt finished it
		if err := r.root.Chmod(e.Path, 0o600); err != nil {
			return err
		}
	}
	f, err := r.root.OpenFile(e.Path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var known map[int64]Sum
	if there {
		known = r.known(e.Path, info)
		there = known == nil
	}
	if !sameSize(info, e) {
		if err := f.Truncate(e.Size); err != nil {
			return err
		}
	}
	var offset int64
	for _, p := range e.Pieces {
		if known[offset] == p.Sum || there && r.same(f, offset, p) {
			r.Kept += p.Size
		} else {
			r.places[p.Sum] = append(r.places[p.Sum], place{e, offset})
			r.total += p.Size
		}
		offset += p.Size
	}
	return nil
}

func sameSize(info fs.FileInfo, e *Entry) bool { return info != nil && info.Size() == e.Size }

// known is what an earlier Receiver left in a file, by offset; nil if that is not certain.
func (r *restore) known(path string, info fs.FileInfo) map[int64]Sum {
	l, ok := r.laid[path]
	s, err := statOf(info)
	if !ok || err != nil || l.inode != s.Ino || l.modified != s.Modified {
		return nil
	}
	known, offset := map[int64]Sum{}, int64(0)
	for _, p := range l.pieces {
		known[offset] = p.Sum
		offset += p.Size
	}
	return known
}

// same tells whether a piece is already there. Holes are not read: they are what Truncate left.
func (r *restore) same(f *os.File, offset int64, p Piece) bool {
	if at, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA); err != nil || at >= offset+p.Size {
		return false
	}
	data, free := r.memory.get(p.Size)
	defer free()
	_, err := f.ReadAt(data, offset)
	return err == nil && sumOf(data) == p.Sum
}

// room holds the bytes to be written against what is free.
func room(dir string, need int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if free := int64(s.Bavail) * s.Bsize; need > free {
		return fault.Hint(fmt.Errorf("%d bytes are needed and %d are free", need, free), "the present state is left as it is; make room, or restore single paths with --path")
	}
	return nil
}
