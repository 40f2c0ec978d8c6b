package cas

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// Kind says what an entry of the cache is.
type Kind string

// The kinds.
const (
	KindBlob      Kind = "blob"
	KindReference Kind = "reference" // a local file that is used where it stands; its size counts as 0
	KindPartial   Kind = "partial"
	KindStage     Kind = "stage"
	KindLists     Kind = "lists"
	KindMemo      Kind = "memo"
)

// Entry is one thing in the cache.
type Entry struct {
	Kind    Kind      `json:"kind"`
	Name    string    `json:"name"`
	Size    int64     `json:"size"` // bytes on disk
	LastUse time.Time `json:"lastUse"`
	path    string
}

// List returns everything in the cache, by kind and name.
func (s *Store) List() ([]Entry, error) {
	var all []Entry
	for _, at := range []struct {
		kind Kind
		glob string
	}{
		{KindBlob, "blobs/sha256/*"}, {KindReference, "refs/*"}, {KindMemo, "memo/*"},
		{KindPartial, "partial/*"}, {KindStage, "stages/*/*"}, {KindLists, "lists/*"},
	} {
		paths, err := filepath.Glob(filepath.Join(globQuote(s.dir), at.glob))
		if err != nil {
			return nil, fmt.Errorf("list cache: %w", err)
		}
		for _, p := range paths {
			info, err := os.Lstat(p)
			if err != nil || strings.HasSuffix(p, ".lock") {
				continue
			}
			e := Entry{Kind: at.kind, Name: filepath.Base(p), LastUse: info.ModTime(), Size: diskSize(p), path: p}
			if at.kind == KindStage {
				e.Name = filepath.Base(filepath.Dir(p)) + "/" + e.Name
			}
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// diskSize is what a file or folder occupies.
func diskSize(path string) int64 {
	var n int64
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// PruneOptions says what goes. With none set only what killed runs left behind goes.
type PruneOptions struct {
	Stages bool      // built stages, but no downloads
	All    bool      // everything
	Before time.Time // whatever was not used since; the zero time is none
}

func (o PruneOptions) drops(e Entry) bool {
	half := strings.Contains(e.Name, ".partial-") || strings.HasPrefix(e.Name, "put-")
	return o.All || half || o.Stages && e.Kind == KindStage || !o.Before.IsZero() && e.LastUse.Before(o.Before)
}

// Prune removes entries and returns them. It fails while another process uses the cache.
func (s *Store) Prune(o PruneOptions) ([]Entry, error) {
	if err := flock(s.lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		// A failed change of a lock may have lost the one that was held (flock(2)).
		err = errors.Join(err, flock(s.lock, unix.LOCK_SH))
		return nil, fault.Hint(fmt.Errorf("prune cache %s: %w", s.dir, err), "wait until the other agibake is done")
	}
	defer func() { _ = flock(s.lock, unix.LOCK_SH) }()
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	var gone []Entry
	var errs []error
	for _, e := range all {
		if !o.drops(e) {
			continue
		}
		if err := s.remove(e.path); err != nil {
			errs = append(errs, err)
			continue
		}
		if e.Kind == KindStage {
			os.Remove(e.path + ".lock")
		}
		gone = append(gone, e)
	}
	return gone, errors.Join(errs...)
}
