package cas

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/fault"
)

// Put stores what r gives and returns its digest (hex) and size in bytes. Where want is set the digest must match,
// where size is not below zero so must the size. progress, if not nil, receives the bytes read so far.
func (s *Store) Put(ctx context.Context, r io.Reader, want string, size int64, progress func(int64)) (string, int64, error) {
	f, err := s.temp(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("store: %w", full(err))
	}
	defer f.Close()
	defer removeOwn(f)
	h := sha256.New()
	if size >= 0 {
		r = io.LimitReader(r, size+1)
	}
	n, err := io.Copy(io.MultiWriter(f, h), &meter{contextReader{ctx, r}, 0, progress})
	if err != nil {
		return "", n, fmt.Errorf("store: %w", full(err))
	}
	if size >= 0 && n != size {
		return "", n, sizeError(n, size)
	}
	got, err := checkDigest(h.Sum(nil), want)
	if err != nil {
		return got, n, err
	}
	return got, n, s.commit(f, s.blob(got))
}

func sizeError(got, want int64) error {
	if got > want {
		return fmt.Errorf("%d bytes were declared: %w", want, ErrTooLarge)
	}
	return fault.Mark(fault.Untrusted, fmt.Errorf("%d bytes instead of %d: %w", got, want, io.ErrUnexpectedEOF))
}

// temp creates a locked temporary file.
func (s *Store) temp(ctx context.Context) (*os.File, error) {
	for {
		f, err := os.CreateTemp(filepath.Join(s.dir, "partial"), "put-")
		if err != nil {
			return nil, err
		}
		name := f.Name()
		f.Close()
		if f, err = tryLock(name); err == nil {
			return f, f.Chmod(0o644)
		}
		if !errors.Is(err, errBusy) {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// sweepTemps removes temporary files of killed processes.
func (s *Store) sweepTemps() {
	names, err := filepath.Glob(filepath.Join(globQuote(s.dir), "partial", "put-*"))
	if err != nil {
		return
	}
	for _, name := range names {
		if f, err := tryLock(name); err == nil {
			os.Remove(name)
			f.Close()
		}
	}
}

// removeOwn removes the name of f if it still stands for f.
func removeOwn(f *os.File) {
	mine, err := f.Stat()
	if err != nil {
		return
	}
	if now, err := os.Lstat(f.Name()); err == nil && os.SameFile(mine, now) {
		os.Remove(f.Name())
	}
}

// meter reports how much was read.
type meter struct {
	r        io.Reader
	n        int64
	progress func(int64)
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.n += int64(n)
	if m.progress != nil {
		m.progress(m.n)
	}
	return n, err
}
