package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/live"
	"github.com/agibake/agibake/internal/progress"
)

// CollectOptions are how Collect works.
type CollectOptions struct {
	Scan     ScanOptions
	Memo     *Memo     // with Parent it says what need not be read; either may be nil
	Parent   *Snapshot //
	Only     bool      // sums are wanted and nothing is stored: what Memo knows need not be read
	Docker   string    // as in live.Options
	Progress progress.Func
}

// Collected is a state as it was at one instant.
type Collected struct {
	List  []Found
	Live  *Live // nil if nothing was copied aside
	Close func()
}

// Collect finds what there is to capture. Where something writes to the state, all writers stand still for the moment in
// which what is not known yet is copied aside, models apart, which nobody writes to in place; databases are always copied
// by their own means. Where nobody writes, files are read where they are, and Capture notices if they change meanwhile.
// Close removes the copies.
func Collect(ctx context.Context, root string, o CollectOptions) (*Collected, error) {
	c := &collector{root: root, o: o, have: o.Parent.pieces()}
	staging := sibling(root, "capture")
	for range attempts {
		if err := os.RemoveAll(staging); err != nil { // left by one that was killed
			return nil, fmt.Errorf("collect: %w", err)
		}
		got, whole, err := c.try(ctx, staging)
		if err != nil {
			return nil, fmt.Errorf("collect: %w", errors.Join(err, os.RemoveAll(staging)))
		}
		if whole {
			got.Close = func() { _ = os.RemoveAll(staging) }
			return got, nil
		}
	}
	return nil, fault.Hint(fmt.Errorf("collect %s: files keep changing while they are copied", root), "stop what writes there, or leave it out with --exclude")
}

// exportSuffix is behind the name of the folder in that of its export, as package live makes it.
const exportSuffix = ".export.jsonl"

const chromaFile = "chroma.sqlite3"

// attempts bounds how often it is tried to find the state at one instant.
const attempts = 5

type collector struct {
	root string
	o    CollectOptions
	have map[Sum]bool
}

// pieces are those that a snapshot holds.
func (x *Snapshot) pieces() map[Sum]bool {
	have := map[Sum]bool{}
	if x != nil {
		for _, b := range x.Contents.Blobs {
			for _, p := range b.Pieces {
				have[p.Sum] = true
			}
		}
	}
	return have
}

// known tells whether a file did not change and is stored whole.
func (c *collector) known(f *Found) bool {
	r, ok := c.o.Memo.recall(f)
	for _, p := range r.Pieces {
		ok = ok && (c.o.Only || c.have[p.Sum])
	}
	return ok
}

// try scans, copies, and scans again; whole is false if something changed in between.
func (c *collector) try(ctx context.Context, staging string) (got *Collected, whole bool, err error) {
	list, err := Scan(ctx, c.root, c.o.Scan)
	if err != nil {
		return nil, false, err
	}
	used, err := live.InUse(ctx, c.root, live.Options{Docker: c.o.Docker})
	if err != nil {
		return nil, false, err
	}
	files, made := c.copied(list, used)
	list = slices.DeleteFunc(list, func(f Found) bool { // an export that was restored
		return slices.ContainsFunc(made, func(m Found) bool { return m.Path == f.Path })
	})
	if len(files) == 0 {
		return &Collected{List: append(list, made...)}, true, nil
	}
	s, err := live.Stage(ctx, c.root, files, staging, live.Options{Docker: c.o.Docker, Progress: c.o.Progress})
	if err != nil {
		return nil, false, err
	}
	for _, w := range s.Warnings {
		c.o.Progress.Warn("capture", w)
	}
	after, err := Scan(ctx, c.root, ScanOptions{Exclude: c.o.Scan.Exclude})
	if err != nil {
		return nil, false, err
	}
	if used && moved(list, after, files, s) {
		return nil, false, nil
	}
	return &Collected{List: slices.Concat(merge(list, after, s), made), Live: report(s)}, true, nil
}

// copied chooses what is copied aside. Of a database that did not change, the export that was made of it before is
// returned instead.
func (c *collector) copied(list []Found, used bool) (files []string, made []Found) {
	found := indexed(list)
	for _, full := range live.FindChroma(c.root) {
		dir, err := filepath.Rel(c.root, full)
		db := found[path.Join(dir, chromaFile)]
		if err != nil || db == nil { // excluded
			continue
		}
		export := c.export(dir, db)
		same := c.known(&export)
		for i := range list {
			if f := &list[i]; f.Kind == File && strings.HasPrefix(f.Path, dir+"/") || dir == "." {
				same = same && (f.Kind != File || c.known(f))
			}
		}
		if !same {
			files = append(files, db.Path)
		} else {
			made = append(made, export)
		}
	}
	for i := range list {
		f := &list[i]
		if f.Kind != File || isModel(f.Path) {
			continue
		}
		if db := found[databaseOf(f.Path)]; db != nil && live.IsSQLite(db.From) { // its changes may be there alone
			files = append(files, db.Path, f.Path)
		} else if !c.known(f) && (used || live.IsSQLite(f.From)) {
			files = append(files, f.Path)
		}
	}
	return files, made
}

// databaseOf is the SQLite database that a file beside it belongs to, by its name.
func databaseOf(p string) string {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if db, ok := strings.CutSuffix(p, suffix); ok {
			return db
		}
	}
	return ""
}

// export is the entry of the logical export of a database, which the memo knows by the database's state.
func (c *collector) export(dir string, db *Found) Found {
	at := dir + exportSuffix
	if dir == "." {
		at = "chroma" + exportSuffix
	}
	e := Found{Entry: db.Entry, stat: db.stat, staged: true}
	e.Path, e.Mode, e.Sum, e.Pieces = at, 0o644, Sum{}, nil
	return e
}
