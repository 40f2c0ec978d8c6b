// Package cas is the content-addressed cache: inputs by their SHA-256, downloads that can go on after a stop,
// and the finished results of stages by the digest of what went into them. Several processes may use one cache.
//
//	blobs/sha256/HEX          complete, verified inputs
//	refs/HEX                  large local files that stand where they are, with the stat values that vouch for them
//	memo/HEX                  digests of local files by path and stat values
//	partial/NAME              downloads under way; the process that writes one holds its flock
//	stages/NAME/KEY/          complete results of stages
//	lists/KEY/                package lists and what else a resolver keeps
//	lock                      held shared by every user of the cache, exclusively by prune
package cas

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

// Store is an open cache. It is safe for concurrent use.
type Store struct {
	// Remove removes a folder that a killed run left, which may hold what its owner cannot remove; nil is os.RemoveAll.
	Remove func(path string) error
	// Stages is another folder for the results of stages, which are then built although the cache may have them; "" is
	// the cache's own.
	Stages string

	dir  string
	lock *os.File
}

func (s *Store) remove(path string) error {
	if s.Remove != nil {
		return s.Remove(path)
	}
	return os.RemoveAll(path)
}

// Default returns the folder of the user's cache: $XDG_CACHE_HOME/agibake, or ~/.cache/agibake
// (XDG Base Directory Specification).
func Default() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fault.Hint(fmt.Errorf("find the cache folder: %w", err), "set HOME or XDG_CACHE_HOME")
	}
	return filepath.Join(dir, "agibake"), nil
}

// OpenDefault opens the user's cache.
func OpenDefault() (*Store, error) {
	dir, err := Default()
	if err != nil {
		return nil, err
	}
	return Open(dir)
}

// Open opens the cache in dir, which is created when missing. It waits while another process prunes.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	for _, sub := range []string{"blobs/sha256", "refs", "memo", "partial", "stages", "lists"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fault.Hint(fmt.Errorf("open cache: %w", err), "set XDG_CACHE_HOME to a folder that can be written")
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	if err := flock(lock, unix.LOCK_SH); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock cache %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock}
	s.sweepTemps()
	return s, nil
}

// Close lets others prune. The paths that the store gave out may vanish from then on.
func (s *Store) Close() error { return s.lock.Close() }

// Dir returns the cache's folder.
func (s *Store) Dir() string { return s.dir }

// Sync makes the names of new blobs durable; their content is so before they get a name.
func (s *Store) Sync() error { return atomicfile.SyncDir(filepath.Join(s.dir, "blobs", "sha256")) }

// Lists creates and returns the folder of one set of package lists, locked until release is called.
// The key is a digest in hex.
func (s *Store) Lists(ctx context.Context, key string) (dir string, release func(), err error) {
	dir = filepath.Join(s.dir, "lists", clean(key))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("package lists: %w", full(err))
	}
	touch(dir)
	lock, err := waitLock(ctx, filepath.Join(dir, "agibake.lock"))
	if err != nil {
		return "", nil, fmt.Errorf("package lists: %w", err)
	}
	return dir, func() { lock.Close() }, nil
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// clean returns the hex digits of a digest, written plain or as sha256:HEX. Anything else becomes a name that no
// blob has, so that a hostile digest cannot leave the cache.
func clean(digest string) string {
	if d := strings.TrimPrefix(digest, "sha256:"); hexDigest.MatchString(d) {
		return d
	}
	return "invalid"
}

func (s *Store) blob(digest string) string {
	return filepath.Join(s.dir, "blobs", "sha256", clean(digest))
}

// Path returns the file that holds a blob. Where the store lacks it, that file does not exist.
// The digest is 64 hex digits, with or without "sha256:" before them.
func (s *Store) Path(digest string) string {
	p := s.blob(digest)
	if _, err := os.Lstat(p); err != nil {
		if r, ok := s.reference(digest); ok {
			return r.Path
		}
	}
	return p
}

// Has tells whether the store holds a blob of this size in bytes, and marks it as used now. A size below zero
// stands for any.
func (s *Store) Has(digest string, size int64) bool {
	p := s.blob(digest)
	if info, err := os.Lstat(p); err == nil {
		if !info.Mode().IsRegular() || size >= 0 && info.Size() != size {
			return false
		}
		touch(p)
		return true
	}
	r, ok := s.reference(digest)
	return ok && (size < 0 || r.Size == size)
}

// Size returns the size of a blob in bytes.
func (s *Store) Size(digest string) (int64, error) {
	info, err := os.Stat(s.Path(digest))
	if err != nil {
		return 0, fmt.Errorf("cached blob %s: %w", clean(digest), err)
	}
	return info.Size(), nil
}

// touch records a use; only prune reads it, so a failure does not matter.
func touch(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// full adds the way out to an error that a full disk caused.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.Hint(err, "make room on that disk, for example with: agibake cache prune")
	}
	return err
}

// DigestError says that content is not what its digest promised. Its kind is fault.Untrusted.
type DigestError struct {
	Want, Got string // hex
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("sha256 is %s, not %s as expected", e.Got, e.Want)
}

func checkDigest(sum []byte, want string) (string, error) {
	got := hex.EncodeToString(sum)
	if want != "" && got != clean(want) {
		return got, fault.Mark(fault.Untrusted, &DigestError{Want: clean(want), Got: got})
	}
	return got, nil
}
