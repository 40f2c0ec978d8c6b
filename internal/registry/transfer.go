package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/atomicfile"
)

// part brings one part of a target to its end, and the target to its final name with the last one.
func (w *pulling) part(ctx context.Context, t *target, i int) error {
	if t.there {
		return nil
	}
	if err := t.open(); err != nil {
		return err
	}
	old := t.done[i] > 0
	err := w.transfer(ctx, t, i)
	if old && errors.Is(err, artifact.ErrDigest) { // the fault may lie in what an earlier run left
		err = w.transfer(ctx, t, i)
	}
	if err != nil {
		return err
	}
	w.count(true)
	t.mu.Lock()
	t.left--
	last := t.left == 0
	t.mu.Unlock()
	if !last {
		return nil
	}
	if err := t.commit(); err != nil {
		return err
	}
	if t.disk {
		return w.offer(t)
	}
	return nil
}

// transfer appends to a part until it is whole. A wrong one starts anew the next time.
func (w *pulling) transfer(ctx context.Context, t *target, i int) error {
	p, sum := t.parts[i], sha256.New()
	buf := make([]byte, step)
	if err := t.hash(ctx, sum, i, buf); err != nil {
		return err
	}
	w.meter.add(t.done[i])
	r, err := w.from.Blob(ctx, p.d, t.done[i])
	if err != nil {
		return err
	}
	defer r.Close()
	for err == nil {
		var n int
		if n, err = r.Read(buf); n > 0 {
			sum.Write(buf[:n])
			if _, err := t.f.WriteAt(buf[:n], p.offset+t.done[i]); err != nil {
				return full(err)
			}
			if err := t.advance(i, t.done[i]+int64(n)); err != nil {
				return full(err)
			}
			w.received(int64(n))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && t.done[i] == p.d.Size && fmt.Sprintf("%x", sum.Sum(nil)) == p.d.Digest.Encoded() {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("blob %s of %s: %w", p.d.Digest, w.from, artifact.ErrDigest)
	}
	if errors.Is(err, artifact.ErrDigest) {
		w.meter.add(-t.done[i])
		err = errors.Join(err, t.advance(i, 0))
	}
	return err
}

// hash reads what is there of a part.
func (t *target) hash(ctx context.Context, sum hash.Hash, i int, buf []byte) error {
	r := io.NewSectionReader(t.f, t.parts[i].offset, t.done[i])
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf)
		sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if at, _ := r.Seek(0, io.SeekCurrent); at < t.done[i] { // somebody cut the file
		sum.Reset()
		return t.advance(i, 0)
	}
	return nil
}

// commit gives the complete file its name.
func (t *target) commit() error {
	err := errors.Join(t.f.Truncate(t.size), t.f.Chmod(0o644), t.f.Sync())
	if err == nil {
		err = t.rename()
	}
	if err != nil {
		return full(fmt.Errorf("write %s: %w", t.path, err))
	}
	os.Remove(t.partial() + ".state")
	return atomicfile.SyncDir(filepath.Dir(t.path))
}

// rename never replaces a disk's file that appeared meanwhile; a blob of the same digest is the same.
func (t *target) rename() error {
	if t.disk {
		err := unix.Renameat2(unix.AT_FDCWD, t.partial(), unix.AT_FDCWD, t.path, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return os.Rename(t.partial(), t.path)
}
