package ext4

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/agibake/agibake/internal/tree"
)

// writeMeta writes all but file content.
func (v *Volume) writeMeta(ctx context.Context, w io.WriterAt) error {
	b := newBlockWriter(w)
	table, free, err := v.writeGroups(b)
	if err != nil {
		return err
	}
	for _, n := range append([]uint32{0}, v.g.backups()...) {
		super, err := v.superblock(n, free)
		if err != nil {
			return err
		}
		at := int64(v.g.first(n)) * blockSize
		if n == 0 {
			at = 1024 // behind the room for a boot sector
		}
		if err := errors.Join(b.putAt(at, super), b.put(v.g.first(n)+1, table)); err != nil {
			return err
		}
	}
	if err := b.put(v.jour.runs[0].start, v.journalSuper()); err != nil {
		return err
	}
	for _, n := range append([]*node{v.root, v.grow, v.jour}, v.nodes...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.writeNode(b, n); err != nil {
			return err
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	return v.writeInodes(b)
}

// writeNode writes the blocks of n that are not file content.
func (v *Volume) writeNode(b *blockWriter, n *node) error {
	for _, m := range n.index {
		if err := b.put(m.at, m.data); err != nil {
			return err
		}
	}
	if n.acl != nil {
		if err := b.put(n.acl.at, n.acl.data); err != nil {
			return err
		}
	}
	switch n.entry.Type {
	case tree.Dir:
		places := blocksOf(n.runs)
		return v.writeDir(n, func(data []byte) error { return b.put(places(), data) })
	case tree.Symlink:
		if len(n.runs) > 0 {
			return b.put(n.runs[0].start, []byte(n.entry.Link))
		}
	}
	return nil
}

// blocksOf returns a function that gives the blocks of runs one by one.
func blocksOf(runs []run) func() uint64 {
	runs = slices.Clone(runs)
	return func() uint64 {
		for runs[0].count == 0 {
			runs = runs[1:]
		}
		at := runs[0].start
		runs[0] = run{at + 1, runs[0].count - 1}
		return at
	}
}

func (v *Volume) writeInodes(b *blockWriter) error {
	for _, n := range append([]*node{v.root, v.grow, v.jour}, v.nodes...) {
		data, err := v.inode(n)
		if err != nil {
			return err
		}
		if err := b.putAt(v.g.inodeOffset(n.ino), data); err != nil {
			return err
		}
	}
	return b.flush()
}
