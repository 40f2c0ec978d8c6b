// Package tree describes files with owner, mode, times and extended attributes, apart from any real file system.
// A tree can hold what an ordinary user may not create: device nodes, foreign owners, trusted.* attributes.
package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Type is the kind of a file.
type Type uint8

// The file types.
const (
	File Type = iota
	Dir
	Symlink
	Hardlink // another name of the file at Link
	Char
	Block
	Fifo
)

// Entry is one name in a tree.
type Entry struct {
	Path    string // relative, slash-separated, clean; "." is the root
	Type    Type
	Mode    uint32 // permission, setuid, setgid and sticky bits (07777)
	UID     int
	GID     int
	ModTime int64  // seconds since 1970, UTC
	Size    int64  // bytes of a File, else 0
	Link    string // target text of a Symlink; tree path of a Hardlink
	Major   uint32
	Minor   uint32
	Xattrs  map[string]string
	// Open opens the content of a File; nil for an empty one. It may be called from several goroutines at once.
	Open func() (io.ReadCloser, error)
}

// Tree is a set of entries by path. The zero value is not usable; call New. It is not safe for concurrent writes.
type Tree struct {
	entries map[string]*Entry
}

// New returns a tree that holds only its root, mode 0755 and owner 0:0.
func New() *Tree {
	return &Tree{entries: map[string]*Entry{".": {Path: ".", Type: Dir, Mode: 0o755}}}
}

// Put adds or replaces an entry. A path must be clean, relative and stay inside the tree. Parent folders are not
// created: see MkdirAll. Replacing a folder by something else removes what was below it.
func (t *Tree) Put(e Entry) error {
	if !fs.ValidPath(e.Path) {
		return fmt.Errorf("put %q: not a clean path inside the tree", e.Path)
	}
	if old := t.entries[e.Path]; old != nil && old.Type == Dir && e.Type != Dir {
		t.Remove(e.Path)
	}
	t.entries[e.Path] = &e
	return nil
}

// MkdirAll adds dir and its missing parents, mode 0755 and owner 0:0.
func (t *Tree) MkdirAll(dir string, mtime int64) error {
	if dir == "." || dir == "" {
		return nil
	}
	if e := t.entries[dir]; e != nil {
		if e.Type != Dir {
			return fmt.Errorf("mkdir %s: exists and is no folder", dir)
		}
		return nil
	}
	if err := t.MkdirAll(path.Dir(dir), mtime); err != nil {
		return err
	}
	return t.Put(Entry{Path: dir, Type: Dir, Mode: 0o755, ModTime: mtime})
}

// WriteFile adds a file of owner 0:0 with missing parents.
func (t *Tree) WriteFile(name string, data []byte, mode uint32, mtime int64) error {
	if err := t.MkdirAll(path.Dir(name), mtime); err != nil {
		return err
	}
	return t.Put(Entry{Path: name, Type: File, Mode: mode, ModTime: mtime, Size: int64(len(data)), Open: Bytes(data)})
}

// Symlink adds a symbolic link of owner 0:0 with missing parents.
func (t *Tree) Symlink(target, name string, mtime int64) error {
	if err := t.MkdirAll(path.Dir(name), mtime); err != nil {
		return err
	}
	return t.Put(Entry{Path: name, Type: Symlink, Mode: 0o777, ModTime: mtime, Link: target})
}

// Bytes returns an Open function over data.
func Bytes(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// Remove removes name and everything below it.
func (t *Tree) Remove(name string) {
	e := t.entries[name]
	if e == nil {
		return
	}
	delete(t.entries, name)
	if e.Type != Dir {
		return
	}
	for p := range t.entries {
		if strings.HasPrefix(p, name+"/") {
			delete(t.entries, p)
		}
	}
}

// Lookup returns the entry at name without following links, or nil. The caller must not change it.
func (t *Tree) Lookup(name string) *Entry { return t.entries[name] }

// Len is the number of entries, the root among them.
func (t *Tree) Len() int { return len(t.entries) }

// Entries returns all entries, parents before children and siblings in byte order of their names.
func (t *Tree) Entries() []*Entry {
	list := make([]*Entry, 0, len(t.entries))
	for _, e := range t.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Entry) int { return Compare(a.Path, b.Path) })
	return list
}

// Compare orders paths as Entries does: the root first, then by components.
func Compare(a, b string) int {
	if a == "." || b == "." {
		return strings.Compare(strings.TrimPrefix(a, "."), strings.TrimPrefix(b, "."))
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			switch {
			case a[i] == '/':
				return -1
			case b[i] == '/':
				return 1
			}
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// Overlay puts every entry of upper over t, as an OCI layer without whiteouts.
func (t *Tree) Overlay(upper *Tree) error {
	for _, e := range upper.Entries() {
		if e.Path == "." {
			continue
		}
		if err := t.Put(*e); err != nil {
			return err
		}
	}
	return nil
}

// Clone returns a tree with the same entries.
func (t *Tree) Clone() *Tree {
	c := &Tree{entries: make(map[string]*Entry, len(t.entries))}
	for p, e := range t.entries {
		copied := *e
		c.entries[p] = &copied
	}
	return c
}

// ErrNotExist is returned for a name that the tree lacks.
var ErrNotExist = fs.ErrNotExist

// Resolve follows symbolic links inside the tree, in name and at its end, and returns the path it stands for.
// Links cannot leave the tree: ".." at the root stays there, as in a chroot.
func (t *Tree) Resolve(name string) (string, error) {
	for range 40 {
		next, done := t.step(name)
		if done {
			if t.entries[next] == nil {
				return next, fmt.Errorf("resolve %s: %w", name, ErrNotExist)
			}
			return next, nil
		}
		name = next
	}
	return "", fmt.Errorf("resolve %s: too many links", name)
}

// step replaces the first link in name, if there is one.
func (t *Tree) step(name string) (string, bool) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return ".", true
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		e := t.entries[name[:i]]
		if e == nil || e.Type != Symlink {
			continue
		}
		target := e.Link
		if !strings.HasPrefix(target, "/") {
			target = path.Join("/", path.Dir(name[:i]), target)
		}
		return target + name[i:], false
	}
	return name, true
}

// ReadFile returns the content of a file, following links. It is for small files: it reads at most 64 MiB.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	for {
		p, err := t.Resolve(name)
		if err != nil {
			return nil, err
		}
		e := t.entries[p]
		switch {
		case e.Type == Hardlink:
			name = e.Link
			continue
		case e.Type != File:
			return nil, fmt.Errorf("read %s: not a file", name)
		case e.Open == nil:
			return nil, nil
		}
		r, err := e.Open()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		defer r.Close()
		const limit = 64 << 20
		data, err := io.ReadAll(io.LimitReader(r, limit+1))
		if err == nil && len(data) > limit {
			err = errors.New("larger than 64 MiB")
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return data, nil
	}
}
