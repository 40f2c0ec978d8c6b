package ext4

import "errors"

// run is a sequence of blocks.
type run struct{ start, count uint64 }

func (r run) end() uint64 { return r.start + r.count }

// geometry says where the tables lie whose place does not depend on the tree.
type geometry struct {
	blocks         uint64
	groups         uint32
	inodesPerGroup uint32
	tableBlocks    uint64 // of one group's inode table
	gdtBlocks      uint64 // group descriptors
	reservedGDT    uint64 // blocks kept for descriptors of later groups
	fixed          []run  // all of them, ascending
}

// errNoRoom says that not even the tables fit.
var errNoRoom = errors.New("too small for its inodes")

func newGeometry(o Options, inodes uint64) (*geometry, error) {
	g := &geometry{blocks: uint64(o.Size) / blockSize}
	for {
		g.groups = uint32(ceilDiv(g.blocks, groupBlocks))
		g.gdtBlocks = ceilDiv(uint64(g.groups)*descSize, blockSize)
		g.reservedGDT = reservedBlocks(g, uint64(o.GrowTo)/blockSize)
		if !g.setInodes(inodes, g.blocks*blockSize/uint64(o.BytesPerInode)) {
			return nil, errNoRoom
		}
		// A last group too short for its own tables is left out, as mke2fs does.
		last := g.blocks % groupBlocks
		if last == 0 || g.groups == 1 || last >= g.baseBlocks(g.groups-1)+2+g.tableBlocks+50 {
			break
		}
		g.blocks -= last
	}
	if g.groups == 1 && g.baseBlocks(0)+2+g.tableBlocks >= g.blocks {
		return nil, errNoRoom
	}
	g.setFixed()
	return g, nil
}

// reservedBlocks is the number of blocks to keep for the descriptors of a file system of growTo blocks.
func reservedBlocks(g *geometry, growTo uint64) uint64 {
	if growTo == 0 {
		growTo = min(g.blocks*1024, maxBlocks)
	}
	all := ceilDiv(ceilDiv(growTo, groupBlocks), blockSize/descSize)
	if all <= g.gdtBlocks {
		return 0
	}
	return min(all-g.gdtBlocks, blockSize/4) // one double indirect block lists them
}

// setInodes sets the number of inodes to that wished for, within limits. It fails if there are fewer than needed.
func (g *geometry) setInodes(needed, wished uint64) bool {
	// The tables of a flex group must fit behind the descriptors in its first group.
	limit := min((groupBlocks-g.baseBlocks(0)-1024)/groupsPerFlex-2, groupBlocks/inodesPerBlk)
	g.tableBlocks = min(limit, ceilDiv(ceilDiv(max(needed, wished), uint64(g.groups)), inodesPerBlk))
	g.inodesPerGroup = uint32(g.tableBlocks * inodesPerBlk)
	return uint64(g.inodes()) >= needed
}

func (g *geometry) setFixed() {
	for n := range g.groups {
		if base := g.baseBlocks(n); base > 0 {
			g.fixed = append(g.fixed, run{g.first(n), base})
		}
		if n%groupsPerFlex == 0 {
			area := run{g.first(n) + g.baseBlocks(n), g.flexGroups(n) * (2 + g.tableBlocks)}
			g.fixed = append(g.fixed, area)
		}
	}
}

func (g *geometry) size() int64           { return int64(g.blocks) * blockSize }
func (g *geometry) inodes() uint32        { return g.groups * g.inodesPerGroup }
func (g *geometry) first(n uint32) uint64 { return uint64(n) * groupBlocks }

// length is the number of blocks in group n; only the last may be short.
func (g *geometry) length(n uint32) uint64 { return min(groupBlocks, g.blocks-g.first(n)) }

// baseBlocks is the number of blocks that copies of superblock and descriptors take at the start of group n.
func (g *geometry) baseBlocks(n uint32) uint64 {
	if !hasSuper(n) {
		return 0
	}
	return 1 + g.gdtBlocks + g.reservedGDT
}

// hasSuper reports whether group n holds a copy of the superblock (feature sparse_super).
func hasSuper(n uint32) bool {
	if n <= 1 {
		return true
	}
	for _, base := range []uint32{3, 5, 7} {
		p := base
		for p < n && p <= 1<<28 {
			p *= base
		}
		if p == n {
			return true
		}
	}
	return false
}

// flexGroups is the number of groups in the flex group that begins at group n.
func (g *geometry) flexGroups(n uint32) uint64 { return uint64(min(groupsPerFlex, g.groups-n)) }

// tables returns the blocks of group n's block bitmap, inode bitmap and inode table.
func (g *geometry) tables(n uint32) (blockBitmap, inodeBitmap, inodeTable uint64) {
	lead := n - n%groupsPerFlex
	at, i, all := g.first(lead)+g.baseBlocks(lead), uint64(n-lead), g.flexGroups(lead)
	return at + i, at + all + i, at + 2*all + i*g.tableBlocks
}

// inodeOffset is the byte offset of inode ino.
func (g *geometry) inodeOffset(ino uint32) int64 {
	_, _, table := g.tables((ino - 1) / g.inodesPerGroup)
	return int64(table)*blockSize + int64((ino-1)%g.inodesPerGroup)*inodeSize
}

// journalBlocks is the size of the journal that mke2fs would make.
func (g *geometry) journalBlocks() uint64 {
	for _, s := range []struct{ below, journal uint64 }{
		{32768, 1024}, {256 << 10, 4096}, {512 << 10, 8192}, {4096 << 10, 16384},
		{8192 << 10, 32768}, {16384 << 10, 65536}, {32768 << 10, 131072},
	} {
		if g.blocks < s.below {
			return s.journal
		}
	}
	return 262144
}

func ceilDiv(a, b uint64) uint64 { return (a + b - 1) / b }

// allocator hands out blocks in ascending order, around the fixed tables. Past the end it goes on as if there were more
// blocks, so that the whole need is known in the end.
type allocator struct {
	g    *geometry
	next uint64
	skip int // index of the first fixed run not yet passed
}

// alloc returns n blocks in as few runs as there can be.
func (a *allocator) alloc(n uint64) []run {
	var runs []run
	for n > 0 {
		take := n
		if a.skip < len(a.g.fixed) {
			wall := a.g.fixed[a.skip]
			if a.next == wall.start {
				a.next, a.skip = wall.end(), a.skip+1
				continue
			}
			take = min(take, wall.start-a.next)
		}
		runs = append(runs, run{a.next, take})
		a.next += take
		n -= take
	}
	return runs
}

func (a *allocator) one() uint64 { return a.alloc(1)[0].start }

// used returns the runs of blocks in use between from and to.
func (a *allocator) used(from, to uint64) []run {
	var runs []run
	if a.next > from {
		runs = append(runs, run{from, min(a.next, to) - from})
	}
	for _, f := range a.g.fixed[a.skip:] {
		if f.start >= to {
			break
		}
		if f.end() > from {
			runs = append(runs, run{max(f.start, from), min(f.end(), to) - max(f.start, from)})
		}
	}
	return runs
}
