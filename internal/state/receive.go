package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
)

// Receiver restores a tree whose pieces come in any order, from somebody who is asked for what is missing.
type Receiver struct {
	r    *restore
	dir  string
	laid map[string]laid // files that are whole, for the next Receiver
}

// laid is a file in the staging folder that was written by us and held against its digests.
type laid struct {
	inode    uint64
	modified int64 // nanoseconds since 1970
	pieces   []Piece
}

// Receive prepares dir for a tree as Restore does. What lies in local files by their pieces is copied from there, and what
// before wrote to dir is not read again; both may be nil.
func Receive(ctx context.Context, t *Tree, dir string, local []Found, before *Receiver, p progress.Func) (*Receiver, error) {
	r := &restore{x: &Snapshot{Tree: t}, places: map[Sum][]place{}, o: RestoreOptions{Progress: p}, memory: newBuffers()}
	if before != nil {
		r.laid = before.laid
	}
	v := &Receiver{r: r, dir: dir, laid: map[string]laid{}}
	if err := v.open(ctx, local); err != nil {
		return nil, fmt.Errorf("receive to %s: %w", dir, errors.Join(err, v.Close()))
	}
	return v, nil
}

func (v *Receiver) open(ctx context.Context, local []Found) (err error) {
	if v.r.list, err = v.r.x.Tree.only(nil); err != nil {
		return err
	}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return err
	}
	if v.r.root, err = os.OpenRoot(v.dir); err != nil {
		return err
	}
	if err := v.r.clear(ctx); err != nil {
		return err
	}
	v.share(local)
	if err := v.r.lay(ctx); err != nil {
		return err
	}
	if err := room(v.dir, v.r.total); err != nil {
		return err
	}
	return v.copyLocal(ctx, local)
}

// share gives models that stand here already a second name in the staging folder: nobody writes to a model in place, and
// a copy would take its room twice. What cannot be shared is copied.
func (v *Receiver) share(local []Found) {
	byPath := map[string]*Found{}
	for i := range local {
		byPath[local[i].Path] = &local[i]
	}
	for _, e := range v.r.list {
		f := byPath[e.Path]
		if f == nil || !isModel(e.Path) || e.Kind != File || f.Kind != File || f.Sum != e.Sum || f.Mode != e.Mode || f.UID != e.UID || f.GID != e.GID {
			continue
		}
		to := filepath.Join(v.dir, e.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			continue
		}
		if err := os.Link(f.From, to); err == nil {
			if v.r.laid == nil {
				v.r.laid = map[string]laid{}
			}
			v.r.laid[e.Path] = laid{f.stat.Ino, f.stat.Modified, e.Pieces} // read and hashed by whoever listed it
		}
	}
}

// copyLocal takes pieces from local files. What they are said to hold is not believed.
func (v *Receiver) copyLocal(ctx context.Context, local []Found) error {
	for i := range local {
		f := &local[i]
		if !slices.ContainsFunc(f.Pieces, func(p Piece) bool { return v.missing(p.Sum) }) {
			continue
		}
		in, err := f.open()
		if err != nil {
			continue // then it comes from elsewhere
		}
		var offset int64
		for _, p := range f.Pieces {
			if err := context.Cause(ctx); err != nil {
				return errors.Join(err, in.Close())
			}
			if v.missing(p.Sum) {
				data := make([]byte, p.Size)
				if _, err := in.ReadAt(data, offset); err == nil && sumOf(data) == p.Sum {
					if err := v.put(p, data); err != nil {
						return errors.Join(err, in.Close())
					}
					v.r.Kept += p.Size
				}
			}
			offset += p.Size
		}
		if err := in.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (v *Receiver) missing(s Sum) bool { return len(v.r.places[s]) > 0 }

func (v *Receiver) put(p Piece, data []byte) error {
	err := v.r.put(p, data)
	delete(v.r.places, p.Sum)
	return err
}

// Missing lists the pieces that are wanted, in the order of the tree.
func (v *Receiver) Missing() (list []Piece) {
	listed := map[Sum]bool{}
	for _, e := range v.r.list {
		for _, p := range e.Pieces {
			if v.missing(p.Sum) && !listed[p.Sum] {
				listed[p.Sum] = true
				list = append(list, p)
			}
		}
	}
	return list
}

// Put writes a piece that is wanted wherever it belongs: artifact.ErrDigest if it is another one.
func (v *Receiver) Put(p Piece, data []byte) error {
	if int64(len(data)) != p.Size || sumOf(data) != p.Sum {
		return fmt.Errorf("piece %s: %w", p.Sum, artifact.ErrDigest)
	}
	if !v.missing(p.Sum) {
		return nil
	}
	return v.put(p, data)
}

// Finish ends what Restore ends too: owners, modes, links, and everything on the disk.
func (v *Receiver) Finish() error {
	if left := v.Missing(); len(left) > 0 {
		return fmt.Errorf("receive to %s: %d pieces did not come: %w", v.dir, len(left), artifact.ErrDigest)
	}
	err := v.r.finish()
	if err == nil {
		err = flush(v.dir)
	}
	for _, e := range v.r.list {
		if err != nil {
			break
		}
		if e.Kind == File {
			info, statErr := v.r.root.Lstat(e.Path)
			if err = statErr; err == nil {
				s, _ := statOf(info)
				v.laid[e.Path] = laid{s.Ino, s.Modified, e.Pieces}
			}
		}
	}
	if err != nil {
		return fmt.Errorf("receive to %s: %w", v.dir, err)
	}
	return nil
}

// Kept is how many bytes were there, or came from local files.
func (v *Receiver) Kept() int64 { return v.r.Kept }

// Close lets go of the folder, which stays as it is.
func (v *Receiver) Close() error {
	if v.r.root == nil {
		return nil
	}
	return v.r.root.Close()
}

// Incoming is where a state that somebody sends is received before it takes root's place.
func Incoming(root string) string { return sibling(root, "incoming") }
