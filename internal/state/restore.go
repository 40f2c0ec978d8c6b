package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// RestoreOptions are how Restore works.
type RestoreOptions struct {
	Only     []string // paths of files and folders; empty means everything
	Progress progress.Func
}

// Restored says what Restore did.
type Restored struct {
	Files int
	Bytes int64 // of files
	Kept  int64 // bytes that an earlier attempt had restored already
	Read  int64 // bytes of blobs, as stored
}

// Restore writes the files of a snapshot below dir, which is made if need be. What an earlier attempt left there is
// checked and kept, whatever does not belong there is removed. When it returns without an error every byte was held
// against its digest and lies on the disk. Errors are those of the store, artifact.ErrDigest, and those of the folder.
func (x *Snapshot) Restore(ctx context.Context, s artifact.Reader, dir string, o RestoreOptions) (*Restored, error) {
	r := &restore{x: x, s: s, places: map[Sum][]place{}, o: o, memory: newBuffers()}
	if err := r.run(ctx, dir); err != nil {
		return nil, fmt.Errorf("restore to %s: %w", dir, err)
	}
	return &r.Restored, nil
}

type restore struct {
	Restored
	x      *Snapshot
	s      artifact.Reader
	o      RestoreOptions
	root   *os.Root
	list   []*Entry        // what is wanted
	places map[Sum][]place // where pieces go that are not there yet
	laid   map[string]laid // what an earlier Receiver wrote
	total  int64           // bytes of pieces to be written
	done   atomic.Int64    // of them
	read   atomic.Int64
	memory *buffers
}

type place struct {
	file   *Entry
	offset int64
}

func (r *restore) run(ctx context.Context, dir string) error {
	var err error
	if r.list, err = r.x.Tree.only(r.o.Only); err != nil {
		return err
	}
	// A switch that was cut off may have left part of the former state in dir.
	if above := filepath.Dir(dir); filepath.Base(above) == ownDir {
		if err := Settle(filepath.Dir(above)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return errors.Join(err, errors.New("a link stands in its place"))
	}
	if r.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer r.root.Close()
	if err := r.clear(ctx); err != nil {
		return err
	}
	if err := r.lay(ctx); err != nil {
		return err
	}
	if err := room(dir, r.total); err != nil {
		return err
	}
	if err := r.fill(ctx); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	return flush(dir)
}

// only returns the entries at or below paths, and the folders above them.
func (t *Tree) only(paths []string) (list []*Entry, err error) {
	met := make([]bool, len(paths))
	for i := range t.Entries {
		e := &t.Entries[i]
		wanted := len(paths) == 0
		for k, p := range paths {
			p = path.Clean(p)
			if e.Path == p || strings.HasPrefix(e.Path, p+"/") || p == "." {
				wanted, met[k] = true, true
			}
			wanted = wanted || e.Kind == Dir && strings.HasPrefix(p, e.Path+"/")
		}
		if wanted {
			list = append(list, e)
		}
	}
	if i := slices.Index(met, false); i >= 0 {
		return nil, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s is not in the snapshot", paths[i])), "agibake state show --files lists what is")
	}
	return list, nil
}

// inMemory bounds the memory that blobs take which are read at the same time, in bytes: that of three large pieces.
const inMemory = 6 * LargePiece

// finish makes links and gives everything its owner and mode, what is deepest first: a folder may forbid writing.
func (r *restore) finish() error {
	for _, e := range slices.Backward(r.list) {
		if e.Kind == Link {
			if err := r.root.Symlink(e.Target, e.Path); err != nil {
				return err
			}
		}
		if os.Geteuid() == 0 && (e.UID != 0 || e.GID != 0) {
			if err := r.root.Lchown(e.Path, int(e.UID), int(e.GID)); err != nil {
				return err
			}
		}
		if e.Kind != Link {
			if err := r.root.Chmod(e.Path, fileMode(e.Mode)); err != nil {
				return err
			}
		}
	}
	return nil
}

func fileMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	if bits&unix.S_ISGID != 0 {
		m |= fs.ModeSetgid
	}
	if bits&unix.S_ISVTX != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// flush brings the file system of dir to the disk.
func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
