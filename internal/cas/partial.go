package cas

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/fault"
)

// ErrTooLarge says that content went past the size that was declared for it. Its kind is fault.Untrusted.
var ErrTooLarge = fault.Mark(fault.Untrusted, errors.New("larger than declared"))

// Partial is content on its way into the store. What was written stays when the process dies, and the next Partial
// of the same name goes on from there. One process at a time holds it.
type Partial struct {
	s     *Store
	f     *os.File
	hash  hash.Hash
	size  int64
	limit int64
}

// Partial opens or creates the partial content called name, and waits while another process writes it: look with
// Has afterwards whether that one brought it to its end. Content past limit bytes is refused; the limit is below
// zero where none is known. Names are hex digests.
func (s *Store) Partial(ctx context.Context, name string, limit int64) (*Partial, error) {
	path := filepath.Join(s.dir, "partial", clean(name))
	f, err := waitLock(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", full(err))
	}
	p := &Partial{s: s, f: f, hash: sha256.New(), limit: limit}
	if p.size, err = io.Copy(p.hash, contextReader{ctx, f}); err != nil {
		f.Close()
		return nil, fmt.Errorf("read partial download: %w", err)
	}
	if limit >= 0 && p.size > limit {
		if err := p.Reset(); err != nil {
			f.Close()
			return nil, err
		}
	}
	return p, nil
}

// Size is the number of bytes already there.
func (p *Partial) Size() int64 { return p.size }

// Limit is the most bytes that it may have; below zero none is known.
func (p *Partial) Limit() int64 { return p.limit }

// Validator returns what SetValidator kept, or "".
func (p *Partial) Validator() string {
	b, err := os.ReadFile(p.f.Name() + ".validator")
	if err != nil || len(b) > 1024 {
		return ""
	}
	return string(b)
}

// SetValidator keeps the server's mark of this version of the content (RFC 9110, section 8.8) beside it, so that
// bytes of two versions never mix.
func (p *Partial) SetValidator(v string) error {
	name := p.f.Name() + ".validator"
	if v == "" || len(v) > 1024 {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return full(os.WriteFile(name, []byte(v), 0o644))
}

// Reset drops what is there.
func (p *Partial) Reset() error {
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.hash.Reset()
	p.size = 0
	return p.SetValidator("")
}

// Write appends b.
func (p *Partial) Write(b []byte) (int, error) {
	if p.limit >= 0 && p.size+int64(len(b)) > p.limit {
		return 0, ErrTooLarge
	}
	n, err := p.f.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	return n, full(err)
}

// Commit gives complete content its final name and returns its digest in hex. With a digest that does not match
// want (unless "") it drops the content and returns a DigestError.
func (p *Partial) Commit(want string) (string, error) {
	got, err := checkDigest(p.hash.Sum(nil), want)
	if err != nil {
		p.Discard()
		return got, err
	}
	return got, p.s.commit(p.f, p.s.blob(got))
}

// commit makes f durable and moves it to its final name.
func (s *Store) commit(f *os.File, final string) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store: %w", full(err))
	}
	// The lock goes with the file, so a waiter that gets it later sees that the name is gone.
	if err := os.Rename(f.Name(), final); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	os.Remove(f.Name() + ".validator")
	return nil
}

// Discard drops the content and its name.
func (p *Partial) Discard() {
	os.Remove(p.f.Name() + ".validator")
	os.Remove(p.f.Name())
}

// Close lets go; content that was neither committed nor discarded stays for the next try.
func (p *Partial) Close() error {
	if p.size == 0 {
		// Nothing is worth keeping. After Commit the name is gone already, or is another process's by now.
		if mine, err := p.f.Stat(); err == nil {
			if now, err := os.Lstat(p.f.Name()); err == nil && os.SameFile(mine, now) {
				p.Discard()
			}
		}
	}
	return p.f.Close()
}

// contextReader ends a long read when ctx does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
