package cas

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

// referenceSize is the size from which a local file is not copied into the store: 64 MiB.
const referenceSize = 64 << 20

// settled is how old a change must be before the stat values vouch for the content: within one tick of the
// file system's clock a second change would leave them as they are.
const settled = time.Second

// local is a file outside the store, with the values that any change of its content also changes. ctime cannot be
// set by a program, so equal values mean equal bytes.
type local struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime"` // nanoseconds
	CTime  int64  `json:"ctime"`
	Dev    uint64 `json:"dev"`
	Ino    uint64 `json:"ino"`
	SHA256 string `json:"sha256,omitempty"`
}

func statLocal(path string) (local, error) {
	info, err := os.Stat(path)
	if err != nil {
		return local{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || !ok {
		return local{}, fmt.Errorf("%s is not a regular file", path)
	}
	return local{Path: path, Size: info.Size(), MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(), Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// same tells whether the file is still as recorded, and says so without reading it.
func (l local) same() bool {
	now, err := statLocal(l.Path)
	now.SHA256 = l.SHA256
	return err == nil && now == l
}

func (l local) settled() bool { return time.Since(time.Unix(0, l.CTime)) > settled }

func readLocal(name string) (local, bool) {
	var l local
	f, err := os.Open(name)
	if err != nil {
		return l, false
	}
	defer f.Close()
	if json.NewDecoder(io.LimitReader(f, 64<<10)).Decode(&l) != nil || !hexDigest.MatchString(l.SHA256) {
		return l, false
	}
	return l, true
}

func writeLocal(name string, l local) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return full(atomicfile.WriteFile(name, b, 0o644))
}

// reference returns the local file that stands for a blob, if it is still the same.
func (s *Store) reference(digest string) (local, bool) {
	l, ok := readLocal(filepath.Join(s.dir, "refs", clean(digest)))
	return l, ok && l.SHA256 == clean(digest) && l.same()
}

// Memo returns what SetMemo recorded for the local file, while the file is as it was then.
func (s *Store) Memo(path, purpose string) (string, bool) {
	l, ok := readLocal(s.memo(path, purpose))
	return l.SHA256, ok && l.same()
}

// SetMemo records a digest (hex) that was derived for a purpose from the local file while it had the stat values in
// seen, a result of Seen. Nothing is recorded for a file that changed since or that may change unnoticed.
func (s *Store) SetMemo(seen Seen, purpose, digest string) error {
	if !seen.l.settled() || !seen.l.same() {
		return nil
	}
	seen.l.SHA256 = clean(digest)
	return writeLocal(s.memo(seen.l.Path, purpose), seen.l)
}

// Seen is a local file as it was at one time.
type Seen struct{ l local }

// See notes the state of a local file before it is read.
func See(path string) (Seen, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Seen{}, err
	}
	l, err := statLocal(abs)
	return Seen{l}, err
}

func (s *Store) memo(path, purpose string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	sum := sha256.Sum256([]byte(purpose + "\x00" + path))
	return filepath.Join(s.dir, "memo", hex.EncodeToString(sum[:]))
}

// Import brings a local file into the store and returns its digest (hex) and size in bytes. A file that was imported
// before and did not change is not read again. Where the file system can share blocks the store gets a copy that
// costs nothing. Otherwise small files are copied, and large ones stay where they are: the store keeps a reference,
// which holds only while the file is unchanged. progress, if not nil, receives the bytes read so far.
func (s *Store) Import(ctx context.Context, path string, progress func(int64)) (string, int64, error) {
	seen, err := See(path)
	if err != nil {
		return "", 0, fault.Mark(fault.Input, fmt.Errorf("import: %w", err))
	}
	if digest, ok := s.Memo(path, "import"); ok && s.Has(digest, seen.l.Size) {
		return digest, seen.l.Size, nil
	}
	in, err := os.Open(seen.l.Path)
	if err != nil {
		return "", 0, fault.Mark(fault.Input, fmt.Errorf("import: %w", err))
	}
	defer in.Close()
	digest, err := s.clone(ctx, in, seen.l.Size, progress)
	if errors.Is(err, errors.ErrUnsupported) && seen.l.Size >= referenceSize {
		digest, err = s.refer(ctx, in, seen.l, progress)
	} else if errors.Is(err, errors.ErrUnsupported) {
		digest, _, err = s.Put(ctx, in, "", seen.l.Size, progress)
	}
	if err != nil {
		return "", 0, fmt.Errorf("import %s: %w", path, err)
	}
	if !seen.l.same() {
		return "", 0, fmt.Errorf("import %s: the file changed while it was read", path)
	}
	return digest, seen.l.Size, s.SetMemo(seen, "import", digest)
}

// clone shares the file's blocks copy-on-write (ioctl_ficlone(2)) and reads the copy, which nobody else can change.
func (s *Store) clone(ctx context.Context, in *os.File, size int64, progress func(int64)) (string, error) {
	f, err := s.temp(ctx)
	if err != nil {
		return "", err
	}
	defer f.Close()
	defer removeOwn(f)
	if err := unix.IoctlFileClone(int(f.Fd()), int(in.Fd())); err != nil {
		return "", errors.ErrUnsupported
	}
	digest, n, err := hashAhead(&meter{contextReader{ctx, f}, 0, progress})
	if err != nil {
		return "", err
	}
	if n != size {
		return "", errors.New("the file changed while it was read")
	}
	return digest, s.commit(f, s.blob(digest))
}

// refer hashes the file where it is.
func (s *Store) refer(ctx context.Context, in *os.File, l local, progress func(int64)) (string, error) {
	if wait := settled - time.Since(time.Unix(0, l.CTime)); wait > 0 {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(min(wait, settled) + time.Millisecond):
		}
	}
	var err error
	if l.SHA256, _, err = hashAhead(&meter{contextReader{ctx, in}, 0, progress}); err != nil {
		return "", err
	}
	if !l.same() {
		return "", errors.New("the file changed while it was read")
	}
	return l.SHA256, writeLocal(filepath.Join(s.dir, "refs", l.SHA256), l)
}

// File is an open blob.
type File struct {
	*os.File
	ref *local
}

// Open opens a blob for reading.
func (s *Store) Open(digest string) (*File, error) {
	f, err := os.Open(s.blob(digest))
	if err == nil {
		return &File{File: f}, nil
	}
	r, ok := s.reference(digest)
	if !ok {
		return nil, fmt.Errorf("open cached blob %s: %w", clean(digest), err)
	}
	if f, err = os.Open(r.Path); err != nil {
		return nil, fmt.Errorf("open %s: %w", r.Path, err)
	}
	return &File{File: f, ref: &r}, nil
}

// Close closes the blob. Its error says when the content was read from a local file that changed meanwhile, so what
// was read must not be used.
func (f *File) Close() error {
	err := f.File.Close()
	if err == nil && f.ref != nil && !f.ref.same() {
		return fault.Mark(fault.Untrusted, fmt.Errorf("%s changed while it was used", f.ref.Path))
	}
	return err
}
