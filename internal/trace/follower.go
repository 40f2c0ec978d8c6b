package trace

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

type follower struct {
	dir  string
	f    *os.File // nil before the first file
	id   string
	l    *lines
	then *os.File // what comes after f, which is complete
}

// look gives all lines there are. It returns false when yield does.
func (t *follower) look(ctx context.Context, from Cursor, yield func(Line, error) bool) (bool, error) {
	if t.f == nil {
		if err := t.begin(from); err != nil || t.f == nil {
			return true, err
		}
	}
	for {
		if err := context.Cause(ctx); err != nil {
			return true, err
		}
		raw, err := t.l.next()
		if err != nil {
			return true, err
		}
		if raw == nil {
			if t.then != nil {
				t.f.Close()
				t.enter(t.then, 0)
				t.then = nil
			} else if t.then, err = t.successor(); err != nil || t.then == nil {
				return true, err
			}
			continue
		}
		if t.id == "" {
			t.id = fileID(t.f)
		}
		if !yield(Line{Raw: bytes.Clone(raw), Cursor: Cursor{t.id, t.l.off}}, nil) {
			return false, nil
		}
	}
}

func (t *follower) enter(f *os.File, off int64) { t.f, t.id, t.l = f, "", newLines(f, off) }

// begin opens the first file, if there is one.
func (t *follower) begin(from Cursor) error {
	if from != (Cursor{}) {
		f, off, err := find(t.dir, from)
		if err == nil {
			t.enter(f, off)
		}
		return err
	}
	list, active, err := look(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if len(list) > 0 {
		closeFile(active)
		if active, err = openStamp(t.dir, list[0]); errors.Is(err, fs.ErrNotExist) {
			return nil // pruned meanwhile: the next look takes another
		} else if err != nil {
			return err
		}
	}
	if active != nil {
		t.enter(active, 0)
	}
	return nil
}

// successor opens the file after t.f, or returns nil while t.f is written to.
func (t *follower) successor() (*os.File, error) {
	mine, err := t.f.Stat()
	if err != nil {
		return nil, err
	}
	now, err := os.Stat(filepath.Join(t.dir, JSONFile))
	if err == nil && os.SameFile(mine, now) {
		if now.Size() < t.l.off {
			return nil, gone() // somebody cut it
		}
		return nil, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list, active, err := look(t.dir)
	if err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		info, err := os.Stat(filepath.Join(t.dir, list[i].name(forms[jsonForm])))
		if err != nil || !os.SameFile(mine, info) {
			continue
		}
		if i == len(list)-1 {
			return active, nil // nil in the middle of a rotation
		}
		closeFile(active)
		f, err := openStamp(t.dir, list[i+1])
		if errors.Is(err, fs.ErrNotExist) {
			err = gone()
		}
		return f, err
	}
	defer closeFile(active)
	if active == nil {
		return nil, nil
	}
	if info, err := active.Stat(); err == nil && os.SameFile(mine, info) {
		return nil, nil // a rotation failed and was undone
	}
	return nil, gone()
}
