package ext4

import (
	"encoding/binary"

	"github.com/agibake/agibake/internal/tree"
)

// placeJournal makes inode 8: an empty journal of the size that mke2fs chooses.
func (v *Volume) placeJournal() {
	blocks := v.g.journalBlocks()
	v.jour = v.special(journalIno)
	v.jour.size = int64(blocks) * blockSize
	v.allocate(v.jour, blocks)
}

// journalSuper is the journal's first block (kernel documentation, "Journal (jbd2)"), big-endian.
func (v *Volume) journalSuper() []byte {
	b := make([]byte, 1024)
	be := binary.BigEndian
	be.PutUint32(b[0x00:], 0xC03B3998)                    // magic
	be.PutUint32(b[0x04:], 4)                             // superblock, version 2
	be.PutUint32(b[0x0C:], blockSize)                     //
	be.PutUint32(b[0x10:], uint32(v.jour.size/blockSize)) // blocks
	be.PutUint32(b[0x14:], 1)                             // first block of the log
	be.PutUint32(b[0x18:], 1)                             // first commit expected
	be.PutUint32(b[0x40:], 1)                             // file systems that use it
	return b
}

// placeResize makes inode 7, which owns the blocks reserved for group descriptors of later groups, here and in every
// backup: its double indirect block lists the primary ones, each of which lists its copies.
func (v *Volume) placeResize() {
	v.grow = v.special(resizeIno)
	const perBlock = blockSize / 4
	v.grow.size = (perBlock*perBlock + perBlock + 12) * blockSize
	double := make([]byte, blockSize)
	at := v.a.one()
	v.grow.index = append(v.grow.index, metaBlock{at, double})
	le.PutUint32(v.grow.inline[13*4:], uint32(at))
	backups := v.g.backups()
	for i := range v.g.reservedGDT {
		block := 1 + v.g.gdtBlocks + i
		le.PutUint32(double[(v.g.gdtBlocks+i)%perBlock*4:], uint32(block))
		if len(backups) == 0 {
			continue
		}
		copies := make([]byte, 0, 4*len(backups))
		for _, n := range backups {
			copies = le.AppendUint32(copies, uint32(v.g.first(n)+block))
		}
		v.grow.index = append(v.grow.index, metaBlock{block, copies})
	}
	v.grow.blocks = 1 + v.g.reservedGDT*uint64(1+len(backups))
}

func (v *Volume) special(ino uint32) *node {
	return &node{ino: ino, links: 1, entry: &tree.Entry{Type: tree.File, Mode: 0o600, ModTime: v.o.Time}}
}

// backups lists the groups other than the first that hold copies of superblock and descriptors.
func (g *geometry) backups() []uint32 {
	var list []uint32
	for n := uint32(1); n < g.groups; n++ {
		if hasSuper(n) {
			list = append(list, n)
		}
	}
	return list
}
