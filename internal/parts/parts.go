// Package parts keeps a snapshot of a state in several places, of which some suffice: folders, hosts that ssh reaches, and
// registries. docs/state-move.md describes what is split, docs/split.md how.
package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/agibake/agibake/internal/erasure"
)

// Suffix is what the names of parts end with.
const Suffix = ".agipart"

// Place is where a part is kept.
type Place interface {
	String() string
	// Create starts a part. Nothing shows there before File.Commit.
	Create(ctx context.Context) (File, error)
	// Find lists what may be a part; nothing if the place is not there.
	Find(ctx context.Context) ([]*Found, error)
}

// File is a part in the making.
type File interface {
	io.Writer
	// Commit gives it its name, which ends in Suffix, and returns where it lies then.
	Commit(ctx context.Context, name string) (where string, err error)
	// Abort removes what was written, unless it was committed.
	Abort()
}

// Found is what may be a part.
type Found struct {
	Place Place
	Name  string // as Commit takes it
	Where string // for a person
	Size  int64  // bytes
	Set   string // ID of its set, hex; "" if neither its first nor its last bytes tell
	Title string // name of the set
	open  func(ctx context.Context, offset int64) (io.ReadCloser, error)
}

// Bytes of a part, docs/split.md.
const (
	headSize, tailSize   = 512, 640
	headMagic, tailMagic = "agibake part v1\n", "agibake tail v1\n"
)

// peek finds out what set it is of, by its head, or the copy of it in its tail.
func (f *Found) peek(ctx context.Context) {
	r := f.reader(ctx)
	defer r.Close()
	read := func(at int64, magic string, skip int) bool {
		b := make([]byte, skip+headSize)
		if n, _ := r.ReadAt(b, at); n < len(b) || !bytes.HasPrefix(b, []byte(magic)) {
			return false
		}
		b = b[skip:]
		if sum := sha256.Sum256(b[:headSize-sha256.Size]); !bytes.HasSuffix(b, sum[:]) {
			return false
		}
		f.Set, f.Title = hex.EncodeToString(b[16:32]), string(bytes.TrimRight(b[48:48+255], "\x00"))
		return true
	}
	if !read(0, headMagic, 0) && f.Size > tailSize {
		read(f.Size-tailSize, tailMagic, 16)
	}
}

func (f *Found) reader(ctx context.Context) *reader {
	return &reader{open: func(offset int64) (io.ReadCloser, error) { return f.open(ctx, offset) }}
}

// reader reads at any offset from what can be opened at any; it is fast where that is in order.
type reader struct {
	open func(offset int64) (io.ReadCloser, error)
	mu   sync.Mutex
	r    io.ReadCloser
	at   int64
}

const smallSkip = 2 << 20 // bytes that are read over rather than opening anew

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, offset int64) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if skip := offset - r.at; r.r != nil && skip != 0 {
		if skip < 0 || skip > smallSkip {
			r.drop()
		} else if n, err := io.CopyN(io.Discard, r.r, skip); err != nil {
			r.drop()
		} else {
			r.at += n
		}
	}
	if r.r == nil {
		if r.r, err = r.open(offset); err != nil {
			r.r = nil
			return 0, err
		}
		r.at = offset
	}
	n, err = io.ReadFull(r.r, p)
	r.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if err != nil {
		r.drop()
	}
	return n, err
}

func (r *reader) drop() {
	if r.r != nil {
		_ = r.r.Close() // what was read counts
		r.r = nil
	}
}

// Close ends what was opened.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	return nil
}

// name is what a part is called: parts of another set never take its place.
func name(base string, set erasure.Set, number int) string {
	return fmt.Sprintf("%s.%s.%d-of-%d%s", base, set.ID[:8], number, set.Parts, Suffix)
}
