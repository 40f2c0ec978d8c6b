package configure

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/agibake/agibake/internal/tree"
)

// builder collects a layer over a base and shows both as one tree.
type builder struct {
	all   *tree.Tree // base and layer together
	out   *tree.Tree // the layer
	epoch int64
}

func newBuilder(base *tree.Tree, epoch int64) *builder {
	return &builder{all: base.Clone(), out: tree.New(), epoch: epoch}
}

// place finds where an absolute path lies: links in its folders are followed, as /lib → usr/lib, and never leave the tree.
// The last component is taken as it is, so that a link there is replaced, not followed.
func (b *builder) place(name string) (string, error) {
	if !strings.HasPrefix(name, "/") || path.Clean(name) != name || name == "/" {
		return "", input(fmt.Errorf("path %q: not a clean absolute path of a file", name))
	}
	dir, err := b.all.Resolve(path.Dir(name))
	if err != nil && !errors.Is(err, tree.ErrNotExist) {
		return "", err
	}
	return path.Join(dir, path.Base(name)), nil
}

// put adds an entry at an absolute path. Folders on the way keep the base's owner and mode.
func (b *builder) put(name string, e tree.Entry) error {
	p, err := b.place(name)
	if err != nil {
		return err
	}
	if old := b.all.Lookup(p); old != nil && old.Type == tree.Dir && e.Type != tree.Dir {
		return input(fmt.Errorf("path %s: is a folder in the system", name))
	}
	if err := b.parents(path.Dir(p)); err != nil {
		return input(fmt.Errorf("path %s: %w", name, err))
	}
	e.Path, e.ModTime = p, b.epoch
	return errors.Join(b.all.Put(e), b.out.Put(e))
}

func (b *builder) parents(dir string) error {
	if done := b.out.Lookup(dir); dir == "." || done != nil && done.Type == tree.Dir {
		return nil
	}
	if err := b.parents(path.Dir(dir)); err != nil {
		return err
	}
	e := tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755, ModTime: b.epoch}
	if old := b.all.Lookup(dir); old != nil {
		e = *old
	}
	if e.Type != tree.Dir {
		return fmt.Errorf("/%s is no folder", dir)
	}
	return errors.Join(b.all.Put(e), b.out.Put(e))
}

func (b *builder) file(name string, data []byte, mode uint32) error {
	return b.put(name, tree.Entry{Type: tree.File, Mode: mode, Size: int64(len(data)), Open: tree.Bytes(data)})
}

func (b *builder) text(name, data string) error { return b.file(name, []byte(data), 0o644) }

func (b *builder) link(target, name string) error {
	return b.put(name, tree.Entry{Type: tree.Symlink, Mode: 0o777, Link: target})
}

// dir adds a folder, or sets the owner and mode of one that the base has.
func (b *builder) dir(name string, mode uint32, uid, gid int) error {
	return b.put(name, tree.Entry{Type: tree.Dir, Mode: mode, UID: uid, GID: gid})
}

// exists says whether a path, its links followed, is there.
func (b *builder) exists(name string) bool {
	_, err := b.all.Resolve(name)
	return err == nil
}

// edit replaces the content of a file that the base has, and keeps its owner and mode.
func (b *builder) edit(name string, change func(old string) string) error {
	p, err := b.all.Resolve(name)
	if err != nil {
		return fmt.Errorf("the base tree lacks /%s: %w", name, err)
	}
	old, err := b.all.ReadFile(p)
	if err != nil {
		return err
	}
	e := *b.all.Lookup(p)
	data := []byte(change(string(old)))
	e.Type, e.Link, e.Size, e.Open = tree.File, "", int64(len(data)), tree.Bytes(data)
	return b.put("/"+p, e)
}

// read returns a file's text, "" where there is none.
func (b *builder) read(name string) (string, error) {
	data, err := b.all.ReadFile(name)
	if errors.Is(err, tree.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}
