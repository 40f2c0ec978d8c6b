package ext4

import (
	"errors"
	"fmt"
	"math"
	"path"

	"github.com/agibake/agibake/internal/tree"
)

// Inode numbers with a fixed meaning.
const (
	rootIno    = 2
	resizeIno  = 7
	journalIno = 8
	firstIno   = 11
)

const maxLinks = 65000

// File types, as in the upper bits of a mode and in folder entries.
var (
	modeBits = map[tree.Type]uint16{tree.File: 0x8000, tree.Dir: 0x4000, tree.Symlink: 0xA000, tree.Char: 0x2000,
		tree.Block: 0x6000, tree.Fifo: 0x1000}
	direntTypes = map[tree.Type]uint8{tree.File: 1, tree.Dir: 2, tree.Char: 3, tree.Block: 4, tree.Fifo: 5, tree.Symlink: 7}
)

// node is one inode.
type node struct {
	ino      uint32
	entry    *tree.Entry
	parent   *node // of a folder
	children []child
	subdirs  int
	indexed  bool // the folder has a hash tree
	apart    bool // Write leaves the content out
	links    int

	size    int64
	runs    []run  // content, in logical order
	blocks  uint64 // all blocks charged to the inode
	inline  [60]byte
	extents bool        // inline holds the root of an extent tree
	index   []metaBlock // the extent tree's other blocks
	inBody  []byte      // extended attributes in the inode
	acl     *metaBlock  // extended attributes in a block of their own
}

type child struct {
	name string
	node *node
}

type metaBlock struct {
	at   uint64
	data []byte
}

func (n *node) isDir() bool { return n.entry.Type == tree.Dir }

// scan turns t into inodes, numbered in tree order.
func (v *Volume) scan(t *tree.Tree) error {
	byPath := make(map[string]*node, t.Len())
	v.root = &node{ino: rootIno, entry: t.Lookup(".")}
	v.root.parent = v.root
	byPath["."] = v.root
	next := uint32(firstIno)
	add := func(e *tree.Entry) error {
		n := &node{ino: next, entry: e}
		next++
		v.nodes = append(v.nodes, n)
		byPath[e.Path] = n
		return link(byPath, e.Path, n)
	}
	if t.Lookup("lost+found") == nil {
		lost := &tree.Entry{Path: "lost+found", Type: tree.Dir, Mode: 0o700, ModTime: v.o.Time}
		if err := add(lost); err != nil {
			return err
		}
	}
	entries := t.Entries()
	for _, e := range entries {
		if err := check(e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if e.Path == "." || e.Type == tree.Hardlink {
			continue
		}
		if err := add(e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	for _, e := range entries {
		if e.Type != tree.Hardlink {
			continue
		}
		n, err := hardlinkTarget(t, byPath, e)
		if err == nil {
			err = link(byPath, e.Path, n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

// link enters n in the folder of name.
func link(byPath map[string]*node, name string, n *node) error {
	dir := byPath[path.Dir(name)]
	if dir == nil || !dir.isDir() {
		return errors.New("its folder is missing")
	}
	dir.children = append(dir.children, child{path.Base(name), n})
	if n.isDir() {
		n.parent = dir
		dir.subdirs++
	} else if n.links++; n.links > maxLinks {
		return fmt.Errorf("more than %d names of one file", maxLinks)
	}
	return nil
}

func hardlinkTarget(t *tree.Tree, byPath map[string]*node, e *tree.Entry) (*node, error) {
	name := e.Link
	for range 40 {
		switch to := t.Lookup(name); {
		case to == nil:
			return nil, fmt.Errorf("hard link to %s, which is missing", e.Link)
		case to.Type == tree.Dir:
			return nil, fmt.Errorf("hard link to %s, which is a folder", e.Link)
		case to.Type == tree.Hardlink:
			name = to.Link
		default:
			return byPath[name], nil
		}
	}
	return nil, fmt.Errorf("hard link to %s, which leads in a circle", e.Link)
}

// check refuses what ext4 cannot hold.
func check(e *tree.Entry) error {
	if _, known := modeBits[e.Type]; !known && e.Type != tree.Hardlink {
		return fmt.Errorf("unknown file type %d", e.Type)
	}
	switch {
	case len(path.Base(e.Path)) > 255:
		return errors.New("name is longer than 255 bytes")
	case e.Path == "." && e.Type != tree.Dir:
		return errors.New("the root is no folder")
	case e.Path == "lost+found" && e.Type != tree.Dir:
		return errors.New("is no folder, as e2fsck wants it")
	case e.Mode&^0o7777 != 0:
		return fmt.Errorf("mode %o has unknown bits", e.Mode)
	case e.UID < 0 || e.UID > math.MaxUint32 || e.GID < 0 || e.GID > math.MaxUint32:
		return fmt.Errorf("owner %d:%d is out of range", e.UID, e.GID)
	case e.Size < 0 || e.Size > maxBlocks*blockSize-blockSize:
		return fmt.Errorf("size of %d bytes is out of range", e.Size)
	case e.Type == tree.File && e.Size > 0 && e.Open == nil:
		return fmt.Errorf("size of %d bytes without content", e.Size)
	case e.Type == tree.Symlink && (e.Link == "" || len(e.Link) >= blockSize):
		return fmt.Errorf("link text of %d bytes is out of range", len(e.Link))
	case (e.Type == tree.Char || e.Type == tree.Block) && (e.Major >= 1<<12 || e.Minor >= 1<<20):
		return fmt.Errorf("device %d:%d is out of range", e.Major, e.Minor)
	}
	return nil
}
