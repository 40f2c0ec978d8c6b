package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/tree"
)

// Limits on what Open accepts, so that a hostile tar cannot exhaust memory. They are far above what images hold.
const (
	maxEntries  = 1 << 20
	maxMetadata = 512 << 20 // bytes of all names, link targets and attributes together
	maxPath     = 4096
	maxName     = 255
	maxXattrs   = 128 << 10 // bytes of one entry's attributes
)

// Layer is an indexed uncompressed tar. Its tree's contents are read from the tar's file, which stays open
// until Close.
type Layer struct {
	Tree *tree.Tree
	// Implied are the folders of Tree for which the tar has no entry of its own.
	Implied map[string]bool
	file    *os.File
}

// Open indexes the uncompressed tar at path by one scan of its headers. It takes POSIX ustar and pax and GNU tar,
// as found in image layers: a later entry replaces an earlier one of the same name, absolute names become relative,
// links in the tar are followed inside the tree for the folders of later names, and names that lead out of the tree
// are refused. Whiteouts stay files. A hard link whose target is not in the tar stays in the tree as it is: its
// target lies in a lower layer.
func Open(path string) (*Layer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open layer: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		var l *Layer
		if l, err = Index(f, info.Size()); err == nil {
			l.file = f
			return l, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("open layer %s: %w", path, err)
}

// Close closes the tar's file. The tree's contents cannot be read any more.
func (l *Layer) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Index is Open over size bytes of r, which must stay readable, by several goroutines at once, as long as the
// tree's contents are used.
func Index(r io.ReaderAt, size int64) (*Layer, error) {
	ix := &index{src: r, size: size, root: &node{entry: tree.Entry{Type: tree.Dir, Mode: 0o755}, implied: true}}
	s := &scanner{r: r, size: size}
	for tr := tar.NewReader(s); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return ix.layer()
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := ix.add(h, s.off); err != nil {
			return nil, fmt.Errorf("entry %.128q: %w", h.Name, err)
		}
	}
}

// node is one name while the tar is being read. Hard-linked names share their file.
type node struct {
	entry    tree.Entry
	file     *tree.Entry // what a name that is no folder stands for
	children map[string]*node
	implied  bool
}

type index struct {
	src      io.ReaderAt
	size     int64
	root     *node
	entries  int
	metadata int
}

func (ix *index) add(h *tar.Header, off int64) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	e, err := entryOf(h)
	if err != nil {
		return err
	}
	size := len(e.Link)
	for k, v := range e.Xattrs {
		size += len(k) + len(v)
	}
	if err := ix.charge(size); err != nil {
		return err
	}
	if e.Size > 0 {
		if e.Size > ix.size-off {
			return fmt.Errorf("%d bytes announced, %d left in the tar", e.Size, ix.size-off)
		}
		src, size := ix.src, e.Size
		e.Open = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(src, off, size)), nil }
	}
	return ix.put(name, e)
}

// charge counts one more entry and its bytes of names and attributes against the limits.
func (ix *index) charge(size int) error {
	ix.entries++
	ix.metadata += size
	if ix.entries > maxEntries || ix.metadata > maxMetadata {
		return fmt.Errorf("more than %d entries or %d bytes of names and attributes", maxEntries, maxMetadata)
	}
	return nil
}

// put adds an entry as an extraction in order would: folders keep what is below them, everything else is replaced.
func (ix *index) put(name string, e tree.Entry) error {
	if name == "." {
		if e.Type != tree.Dir {
			return errors.New("the root is not a folder")
		}
		ix.root.entry, ix.root.implied = e, false
		return nil
	}
	dir, err := ix.folder(path.Dir(name), true)
	if err != nil {
		return err
	}
	base := path.Base(name)
	if e.Type == tree.Dir {
		n := dir.children[base]
		if n == nil || n.entry.Type != tree.Dir {
			n = &node{}
			dir.set(base, n)
		}
		n.entry, n.implied = e, false
		return nil
	}
	file := &e
	if e.Type == tree.Hardlink {
		target, err := ix.lookup(e.Link)
		if err != nil {
			return err
		}
		if target != nil {
			file = target
		}
	}
	if old := dir.children[base]; old != nil && old.file == file {
		return nil // a link to itself
	}
	dir.set(base, &node{entry: *file, file: file})
	return nil
}

func (n *node) set(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// lookup returns the file that a hard link's target stands for, nil if this tar does not have it.
func (ix *index) lookup(name string) (*tree.Entry, error) {
	dir, err := ix.folder(path.Dir(name), false)
	if err != nil || dir == nil {
		return nil, err
	}
	n := dir.children[path.Base(name)]
	if n == nil {
		return nil, nil
	}
	if n.file == nil {
		return nil, fmt.Errorf("hard link to the folder %s", name)
	}
	return n.file, nil
}

// folder finds the folder dir, following symbolic links of the tar inside the tree as a chroot would. With create
// set it makes missing folders; otherwise it returns nil for them.
func (ix *index) folder(dir string, create bool) (*node, error) {
	rest := split(dir)
	at := []*node{ix.root}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = at[:max(1, len(at)-1)]
			continue
		}
		here := at[len(at)-1]
		n := here.children[part]
		switch {
		case n == nil && !create:
			return nil, nil
		case n == nil:
			n = &node{entry: tree.Entry{Type: tree.Dir, Mode: 0o755}, implied: true}
			if err := ix.charge(len(part)); err != nil {
				return nil, err
			}
			here.set(part, n)
		case n.entry.Type == tree.Symlink:
			if links++; links > 40 {
				return nil, fmt.Errorf("too many links on the way to %s", dir)
			}
			if strings.HasPrefix(n.entry.Link, "/") {
				at = at[:1]
			}
			rest = append(split(n.entry.Link), rest...)
			continue
		case n.entry.Type != tree.Dir:
			return nil, fmt.Errorf("%s is not a folder", part)
		}
		if at = append(at, n); len(at) > maxPath/2 {
			return nil, errors.New("folders too deep")
		}
	}
	return at[len(at)-1], nil
}

func split(p string) []string {
	return slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
}

// layer makes the tree: of the names that share a file the first in the tree's order carries it.
func (ix *index) layer() (*Layer, error) {
	l := &Layer{Tree: tree.New(), Implied: map[string]bool{}}
	first := map[*tree.Entry]string{}
	ix.entries = 0
	var walk func(name string, n *node) error
	walk = func(name string, n *node) error {
		if err := ix.charge(len(name)); err != nil {
			return err
		}
		if len(name) > maxPath {
			return fmt.Errorf("name %.64q…: longer than %d bytes", name, maxPath)
		}
		e := n.entry
		if f := n.file; f != nil && f.Type != tree.Hardlink {
			if to, seen := first[f]; seen {
				e = tree.Entry{Type: tree.Hardlink, Mode: f.Mode, UID: f.UID, GID: f.GID, ModTime: f.ModTime, Link: to}
			} else {
				first[f] = name
			}
		}
		e.Path = name
		if n.implied {
			l.Implied[name] = true
		}
		if err := l.Tree.Put(e); err != nil {
			return err
		}
		for _, child := range slices.Sorted(maps.Keys(n.children)) {
			if err := walk(path.Join(name, child), n.children[child]); err != nil {
				return err
			}
		}
		return nil
	}
	return l, walk(".", ix.root)
}
