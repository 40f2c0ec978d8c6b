package ext4

import (
	"fmt"

	"github.com/agibake/agibake/internal/tree"
)

// layOut gives every block its place, whether or not they fit. Order: journal, resize inode, folders, links and
// attributes, then file content in tree order.
func layOut(t *tree.Tree, o Options) (*Volume, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	v := &Volume{o: o, seed: crc(^uint32(0), o.UUID[:])}
	if err := v.scan(t); err != nil {
		return nil, err
	}
	var err error
	if v.g, err = newGeometry(o, uint64(len(v.nodes))+firstIno-1); err != nil {
		return nil, err
	}
	v.a = &allocator{g: v.g}
	v.placeJournal()
	v.placeResize()
	for _, n := range append([]*node{v.root}, v.nodes...) {
		if err := v.place(n); err != nil {
			return nil, fmt.Errorf("%s: %w", n.entry.Path, err)
		}
	}
	for _, n := range v.nodes {
		if n.entry.Type == tree.File && n.size > 0 {
			v.bytes += n.size
			v.allocate(n, ceilDiv(uint64(n.size), blockSize))
		}
	}
	return v, nil
}

// need is the size in bytes that holds everything placed. Where that is more than there is, it is a little too low: more
// groups bring more tables, and a larger journal.
func (v *Volume) need() int64 {
	if v.a.next <= v.g.blocks {
		return int64(v.a.next) * blockSize
	}
	over := v.a.next - v.g.blocks
	return v.g.size() + int64(over+over*(2+v.g.tableBlocks)/groupBlocks+1)*blockSize
}

// place allocates all but the content of files.
func (v *Volume) place(n *node) error {
	e := n.entry
	if err := v.placeXattrs(n); err != nil {
		return err
	}
	switch e.Type {
	case tree.File:
		n.size, n.extents = e.Size, true
		v.setExtents(n) // an empty root; content comes later
	case tree.Dir:
		blocks, err := v.dirBlocks(n)
		if err != nil {
			return err
		}
		n.size = int64(blocks) * blockSize
		v.allocate(n, blocks)
		if n.links = 2 + n.subdirs; n.links >= maxLinks {
			n.links = 1 // feature dir_nlink
		}
	case tree.Symlink:
		n.size = int64(len(e.Link))
		if len(e.Link) < len(n.inline) {
			copy(n.inline[:], e.Link)
			return nil
		}
		v.allocate(n, 1)
	case tree.Char, tree.Block:
		if e.Major < 256 && e.Minor < 256 {
			le.PutUint32(n.inline[0:], e.Major<<8|e.Minor)
		} else {
			le.PutUint32(n.inline[4:], e.Minor&0xff|e.Major<<8|(e.Minor&^0xff)<<12)
		}
	}
	return nil
}

// allocate gives n its content blocks and the extent tree over them.
func (v *Volume) allocate(n *node, blocks uint64) {
	n.runs = v.a.alloc(blocks)
	n.blocks += blocks
	v.setExtents(n)
}
