package extfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	modeMask    = 0xF000
	modeDir     = 0x4000
	modeFile    = 0x8000
	modeSymlink = 0xA000

	flagEncrypt = 0x800
	flagExtents = 0x80000
	flagInline  = 0x10000000

	rootInode = 2
)

// inode is what reading needs of one.
type inode struct {
	mode  uint16
	flags uint32
	size  int64
	block [60]byte
}

func (n *inode) is(kind uint16) bool { return n.mode&modeMask == kind }

func (f *FS) inode(number int64) (*inode, error) {
	if number < 1 || number > f.Inodes {
		return nil, fmt.Errorf("ext4: no inode %d", number)
	}
	le := binary.LittleEndian
	group, index := (number-1)/f.inodesPerGroup, (number-1)%f.inodesPerGroup
	desc := make([]byte, 64)
	if _, err := f.r.ReadAt(desc[:min(64, f.descSize)], (f.firstBlock+1)*f.BlockSize+group*f.descSize); err != nil {
		return nil, err
	}
	table := int64(le.Uint32(desc[8:]))
	if f.descSize >= 64 {
		table |= int64(le.Uint32(desc[40:])) << 32
	}
	if table <= 0 || table >= f.Blocks {
		return nil, fmt.Errorf("ext4: inode table of group %d at block %d", group, table)
	}
	b := make([]byte, 128)
	if _, err := f.r.ReadAt(b, table*f.BlockSize+index*f.inodeSize); err != nil {
		return nil, err
	}
	n := &inode{mode: le.Uint16(b), flags: le.Uint32(b[32:]), size: int64(le.Uint32(b[4:])) | int64(le.Uint32(b[108:]))<<32}
	copy(n.block[:], b[40:])
	if n.size < 0 {
		return nil, fmt.Errorf("ext4: inode %d has %d bytes", number, n.size)
	}
	return n, nil
}

// extent maps count blocks of a file from logical on; physical 0 means zeros.
type extent struct{ logical, physical, count int64 }

const (
	maxExtents = 1 << 16
	maxNodes   = 1 << 10
)

// extents walks the extent tree in node, which stands for the given depth or is the root (-1). A tree that names its
// nodes again and again ends with nodes.
func (f *FS) extents(node []byte, depth int, nodes *int, list []extent) ([]extent, error) {
	le := binary.LittleEndian
	const header, entry, magic, maxDepth = 12, 12, 0xF30A, 5
	entries, own := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
	if *nodes++; *nodes > maxNodes {
		return nil, errors.New("ext4: the extent tree is too large")
	}
	if le.Uint16(node) != magic || own > maxDepth || depth >= 0 && own != depth || header+entries*entry > len(node) {
		return nil, errors.New("ext4: broken extent tree")
	}
	for i := range entries {
		e := node[header+i*entry:]
		if own > 0 {
			b, err := f.block(int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32)
			if err != nil {
				return nil, err
			}
			if list, err = f.extents(b, own-1, nodes, list); err != nil {
				return nil, err
			}
			continue
		}
		const unwritten = 32768
		x := extent{int64(le.Uint32(e)), int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32, int64(le.Uint16(e[4:]))}
		if x.count > unwritten {
			x.count, x.physical = x.count-unwritten, 0
		}
		if x.physical < 0 || x.physical+x.count > f.Blocks || len(list) >= maxExtents {
			return nil, errors.New("ext4: an extent lies outside of the file system")
		}
		list = append(list, x)
	}
	return list, nil
}

// content reads a whole file of at most limit bytes.
func (f *FS) content(n *inode, limit int64) ([]byte, error) {
	switch {
	case n.size > limit:
		return nil, fmt.Errorf("ext4: a file of %d bytes, over the limit of %d", n.size, limit)
	case n.flags&flagEncrypt != 0:
		return nil, errors.New("ext4: the file is encrypted")
	case n.flags&flagInline != 0:
		if n.size > int64(len(n.block)) {
			return nil, errors.New("ext4: inline data beyond the inode is not read here")
		}
		return n.block[:n.size], nil
	case n.size == 0:
		return nil, nil
	case n.is(modeSymlink) && n.size < int64(len(n.block)) && n.flags&flagExtents == 0:
		return n.block[:n.size], nil
	case n.flags&flagExtents == 0:
		return nil, errors.New("ext4: files without extents (ext2, ext3) are not read here")
	}
	nodes := 0
	list, err := f.extents(n.block[:], -1, &nodes, nil)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n.size)
	for _, x := range list {
		from, to := x.logical*f.BlockSize, min((x.logical+x.count)*f.BlockSize, n.size)
		if x.physical == 0 || from >= to {
			continue
		}
		if _, err := f.r.ReadAt(b[from:to], x.physical*f.BlockSize); err != nil && err != io.EOF {
			return nil, err
		}
	}
	return b, nil
}
