package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/chunk"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/sparse"
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

// fill reads the blobs that hold missing pieces, several at a time.
func (r *restore) fill(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers())
	room := semaphore.NewWeighted(inMemory)
	taken := map[Sum]bool{}
	for i := range r.x.Contents.Blobs {
		b := &r.x.Contents.Blobs[i]
		mine := map[Sum]bool{}
		for _, p := range b.Pieces {
			if !taken[p.Sum] && len(r.places[p.Sum]) > 0 {
				taken[p.Sum], mine[p.Sum] = true, true
			}
		}
		if len(mine) == 0 {
			continue
		}
		g.Go(func() error {
			if err := room.Acquire(ctx, b.memory(r.x.Seal)); err != nil {
				return err
			}
			defer room.Release(b.memory(r.x.Seal))
			r.read.Add(b.Size)
			if !b.Packed && r.x.Seal == nil {
				return r.large(ctx, b)
			}
			return readBlob(ctx, r.s, b, r.x.Seal, r.memory, func(p Piece) bool { return mine[p.Sum] }, r.put)
		})
	}
	err := g.Wait()
	r.Read = r.read.Load()
	return err
}

// inMemory bounds the memory that blobs take which are read at the same time, in bytes: that of three large pieces.
const inMemory = 3 * LargePiece

func (b *Blob) memory(s *Seal) int64 {
	switch {
	case b.Packed:
		return 2*packWindow + chunk.Max
	case b.Pieces[0].Size <= chunk.Max:
		return chunk.Max
	case s != nil: // deciphering leaves as much behind
		return 2 * LargePiece
	}
	return LargePiece
}

// readers is how many blobs are read at a time.
func readers() int { return max(2, min(runtime.GOMAXPROCS(0), 8)) }

// put writes a piece wherever it belongs.
func (r *restore) put(p Piece, data []byte) error {
	for _, at := range r.places[p.Sum] {
		f, err := r.root.OpenFile(at.file.Path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data, at.offset)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		r.o.Progress.Count("restore", at.file.Path, r.done.Add(p.Size), r.total)
	}
	return nil
}

// large restores a piece that is a blob of its own, past the page cache.
func (r *restore) large(ctx context.Context, b *Blob) error {
	p := b.Pieces[0]
	at := r.places[p.Sum][0]
	lead := int(at.offset % sparse.Align)
	buf, free := r.memory.get(int64(lead) + p.Size)
	defer free()
	data := buf[lead:]
	if err := r.fetch(ctx, b, data); err != nil {
		return err
	}
	for i, at := range r.places[p.Sum] {
		if i > 0 && int(at.offset%sparse.Align) != lead {
			if err := r.plain(at, data); err != nil {
				return err
			}
		} else if err := r.direct(at, buf, lead, len(data)); err != nil {
			return err
		}
		r.o.Progress.Count("restore", at.file.Path, r.done.Add(p.Size), r.total)
	}
	return nil
}

// fetch reads a piece and holds it against its digest.
func (r *restore) fetch(ctx context.Context, b *Blob, data []byte) error {
	in, err := r.s.Blob(ctx, b.descriptor(), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.ReadFull(&cancelled{ctx, in}, data); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("blob %s is cut off: %w", b.Digest, artifact.ErrDigest)
	} else if err != nil {
		return err
	}
	if sumOf(data) != b.Pieces[0].Sum {
		return fmt.Errorf("blob %s: %w", b.Digest, artifact.ErrDigest)
	}
	return nil
}

func (r *restore) plain(at place, data []byte) error {
	f, err := r.root.OpenFile(at.file.Path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, at.offset)
	return errors.Join(err, f.Close())
}

// direct writes n bytes that stand in buf where they stand in their page of the file: whole pages directly, the pages at
// both ends, which other pieces share, through the cache.
func (r *restore) direct(at place, buf []byte, lead, n int) error {
	f, err := r.root.OpenFile(at.file.Path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	d := sparse.NewDirect(f)
	defer d.Close()
	base := at.offset - int64(lead)
	from, to := (lead+sparse.Align-1)&^(sparse.Align-1), (lead+n)&^(sparse.Align-1)
	if to <= from {
		_, err := f.WriteAt(buf[lead:lead+n], at.offset)
		return err
	}
	if _, err := f.WriteAt(buf[lead:from], at.offset); err != nil {
		return err
	}
	if _, err := d.WriteAt(buf[from:to], base+int64(from)); err != nil {
		return err
	}
	_, err = f.WriteAt(buf[to:lead+n], base+int64(to))
	return err
}

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
