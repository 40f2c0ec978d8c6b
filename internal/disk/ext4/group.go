package ext4

import (
	"encoding/binary"
	"errors"
)

// Group flags.
const (
	inodeUninit = 1 // no inode in use: bitmap and table need not be read
	blockUninit = 2 // no block in use but the group's own copies: the bitmap is computed
	tableZeroed = 4 // unused inodes are known to be zero
)

// diskGroup is struct ext4_group_desc (kernel documentation, "Block Group Descriptors").
type diskGroup struct {
	BlockBitmap, InodeBitmap, InodeTable        uint32
	FreeBlocks, FreeInodes, Dirs, Flags         uint16
	Exclude                                     uint32
	BlockBitmapSum, InodeBitmapSum              uint16
	UnusedInodes, Checksum                      uint16
	BlockBitmapHigh, InodeBitmapHigh, TableHigh uint32
	FreeBlocksHigh, FreeInodesHigh, DirsHigh    uint16
	UnusedInodesHigh                            uint16
	ExcludeHigh                                 uint32
	BlockBitmapSumHigh, InodeBitmapSumHigh      uint16
	_                                           uint32
}

type totals struct{ blocks, inodes uint64 }

// writeGroups emits the bitmaps that are needed and returns the descriptors of all groups.
func (v *Volume) writeGroups(w *blockWriter) (table []byte, free totals, err error) {
	dirs := v.dirsByGroup()
	for n := range v.g.groups {
		bb, ib, it := v.g.tables(n)
		d := diskGroup{
			BlockBitmap: uint32(bb), BlockBitmapHigh: uint32(bb >> 32), InodeBitmap: uint32(ib),
			InodeBitmapHigh: uint32(ib >> 32), InodeTable: uint32(it), TableHigh: uint32(it >> 32),
			Dirs: uint16(dirs[n]), Flags: tableZeroed,
		}
		if err := errors.Join(v.countBlocks(w, n, &d), v.countInodes(w, n, &d)); err != nil {
			return nil, free, err
		}
		free.blocks += uint64(d.FreeBlocks)
		free.inodes += uint64(d.FreeInodes)
		at := len(table)
		if table, err = binary.Append(table, le, d); err != nil {
			return nil, free, err
		}
		le.PutUint16(table[at+0x1E:], uint16(crc(crc32le(v.seed, n), table[at:])))
	}
	return table, free, nil
}

// countBlocks fills in the free blocks of group n and emits their bitmap.
func (v *Volume) countBlocks(w *blockWriter, n uint32, d *diskGroup) error {
	first, length := v.g.first(n), v.g.length(n)
	used := v.a.used(first, first+length)
	bits, free := make([]byte, blockSize), length
	for _, r := range used {
		setBits(bits, r.start-first, r.count)
		free -= r.count
	}
	d.FreeBlocks = uint16(free)
	if !v.needsBitmap(n, used) {
		d.Flags |= blockUninit
		return nil
	}
	setBits(bits, length, groupBlocks-length)
	sum := crc(v.seed, bits)
	d.BlockBitmapSum, d.BlockBitmapSumHigh = uint16(sum), uint16(sum>>16)
	at, _, _ := v.g.tables(n)
	return w.put(at, bits)
}

// countInodes fills in the free inodes of group n and emits their bitmap.
func (v *Volume) countInodes(w *blockWriter, n uint32, d *diskGroup) error {
	perGroup := v.g.inodesPerGroup
	lastIno := uint32(firstIno - 1 + len(v.nodes))
	used := min(perGroup, max(lastIno, n*perGroup)-n*perGroup)
	d.FreeInodes = uint16(perGroup - used)
	d.UnusedInodes = d.FreeInodes
	if used == 0 {
		d.Flags |= inodeUninit
		return nil
	}
	bits := make([]byte, blockSize)
	setBits(bits, 0, uint64(used))
	setBits(bits, uint64(perGroup), 8*blockSize-uint64(perGroup))
	sum := crc(v.seed, bits[:perGroup/8])
	d.InodeBitmapSum, d.InodeBitmapSumHigh = uint16(sum), uint16(sum>>16)
	_, at, _ := v.g.tables(n)
	return w.put(at, bits)
}

// needsBitmap reports whether the bitmap of group n must be written: the kernel and e2fsck compute that of a group that
// holds nothing but its own copies of superblock and descriptors. The last group's is always written.
func (v *Volume) needsBitmap(n uint32, used []run) bool {
	base := v.g.baseBlocks(n)
	switch {
	case n == v.g.groups-1:
		return true
	case base == 0:
		return len(used) > 0
	}
	return len(used) != 1 || used[0].count != base
}

func (v *Volume) dirsByGroup() []uint32 {
	dirs := make([]uint32, v.g.groups)
	dirs[0] = 1 // the root
	for _, n := range v.nodes {
		if n.isDir() {
			dirs[(n.ino-1)/v.g.inodesPerGroup]++
		}
	}
	return dirs
}

// setBits sets count bits from bit at on.
func setBits(b []byte, at, count uint64) {
	for end := at + count; at < end; {
		if at%8 == 0 && end-at >= 8 {
			b[at/8] = 0xff
			at += 8
			continue
		}
		b[at/8] |= 1 << (at % 8)
		at++
	}
}
