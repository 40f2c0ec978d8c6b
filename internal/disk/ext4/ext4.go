// Package ext4 writes a new ext4 file system that holds a tree, in one pass and without mounting anything.
//
// The result is what a present-day mke2fs makes of a root file system (journal, extents, 64bit, flex_bg, checksums,
// reserved descriptor blocks for online growth), in the form that Linux 4.18, GRUB 2.06 and e2fsprogs 1.45 or later
// read. The layout is that of the kernel's Documentation/filesystems/ext4. The same tree and Options give the same bytes.
package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tree"
)

const (
	blockSize     = 4096
	groupBlocks   = 8 * blockSize // as many as one bitmap block covers
	groupsPerFlex = 16            // groups whose bitmaps and inode tables lie together
	inodeSize     = 256
	inodesPerBlk  = blockSize / inodeSize
	descSize      = 64
	maxBlocks     = 1 << 32 // 16 TiB, what 32-bit logical block numbers and the resize inode serve
)

// Options describe the file system. The zero value of a field that has a default selects it.
type Options struct {
	Size  int64  // bytes of the target, at least 16 MiB; a remainder below 4096 stays unused
	Label string // at most 16 bytes

	UUID     [16]byte
	HashSeed [16]byte // of folder indexes
	Time     int64    // creation, seconds since 1970

	// GrowTo is the size in bytes up to which the mounted file system can grow in place; default 1024 times Size.
	// Either is cut to 8 TiB, where the format's reserved descriptor blocks end.
	GrowTo int64
	// ReservedPercent of the blocks are kept for root; default none.
	ReservedPercent int
	// BytesPerInode sets how many inodes there are; default 16384. A tree that needs more gets more.
	BytesPerInode int64
	// Item names the file system in progress events; default Label.
	Item string
}

// Volume is a file system whose every block has its place. No content has been read for it.
type Volume struct {
	o     Options
	g     *geometry
	a     *allocator
	nodes []*node // by inode number, from lost+found or the first free one on
	root  *node
	jour  *node // the journal's inode
	grow  *node // the resize inode
	seed  uint32
	bytes int64 // of file content
}

// Plan lays t out. It fails with kind fault.Input if t does not fit, and names the bytes needed and available, or if
// t holds what ext4 cannot express. t must not change until the Volume has been written.
func Plan(t *tree.Tree, o Options) (*Volume, error) {
	v, err := newVolume(t, o)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("lay out file system %s: %w", o.Label, err))
	}
	return v, nil
}

// Write plans and writes a file system that holds t. See Plan and Volume.Write.
func Write(ctx context.Context, w io.WriterAt, t *tree.Tree, o Options, p progress.Func) error {
	v, err := Plan(t, o)
	if err != nil {
		return err
	}
	return v.Write(ctx, w, p)
}

// MinSize returns the smallest size in bytes, in steps of 16 MiB, of a file system with o's other options that holds t.
func MinSize(t *tree.Tree, o Options) (int64, error) {
	size, err := minSize(t, o)
	if err != nil {
		return 0, fault.Mark(fault.Input, fmt.Errorf("lay out file system %s: %w", o.Label, err))
	}
	return size, nil
}

func minSize(t *tree.Tree, o Options) (int64, error) {
	const step = 16 << 20
	o.Size = step
	for {
		v, err := layOut(t, o)
		switch {
		case errors.Is(err, errNoRoom):
			o.Size += o.Size/step/4*step + step
		case err != nil:
			return 0, err
		case v.need() <= v.g.size():
			return o.Size, nil
		default:
			o.Size = (v.need() + step - 1) / step * step
		}
	}
}

func newVolume(t *tree.Tree, o Options) (*Volume, error) {
	v, err := layOut(t, o)
	if err == nil && v.need() <= v.g.size() {
		return v, nil
	}
	if err != nil && !errors.Is(err, errNoRoom) {
		return nil, err
	}
	need, err := minSize(t, o)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the files and their tables need %d bytes (%d MiB), %d bytes (%d MiB) are available",
		need, need>>20, o.Size, o.Size>>20)
}

func (o *Options) check() error {
	switch {
	case len(o.Label) > 16:
		return fmt.Errorf("label %q is longer than 16 bytes", o.Label)
	case o.Size < 16<<20:
		return fmt.Errorf("size of %d bytes is below the least, 16 MiB", o.Size)
	case o.Size/blockSize > maxBlocks:
		return fmt.Errorf("size of %d bytes is above the most, 16 TiB", o.Size)
	case o.ReservedPercent < 0 || o.ReservedPercent > 50:
		return fmt.Errorf("reserved share of %d per cent is not between 0 and 50", o.ReservedPercent)
	case o.BytesPerInode < 0 || o.GrowTo < 0:
		return fmt.Errorf("negative option")
	}
	if o.BytesPerInode == 0 {
		o.BytesPerInode = 16384
	}
	if o.Item == "" {
		o.Item = o.Label
	}
	return nil
}
