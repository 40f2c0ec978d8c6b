package ext4

// Extent tree (kernel documentation, "Extent Tree"): 12-byte header, then 12-byte entries.
const (
	extentMagic   = 0xF30A
	maxExtent     = 32768 // blocks of one initialised extent
	rootEntries   = 4
	blockEntries  = (blockSize - 12) / 12
	extentTailEnd = 12 + 12*blockEntries
)

// extentEntry is a leaf entry (count > 0) or an index entry.
type extentEntry struct {
	logical uint32
	count   uint16
	at      uint64
}

// setExtents builds the extent tree over n.runs and allocates its blocks.
func (v *Volume) setExtents(n *node) {
	n.extents = true
	entries := splitRuns(n.runs)
	depth := uint16(0)
	for ; len(entries) > rootEntries; depth++ {
		var above []extentEntry
		for len(entries) > 0 {
			part := entries[:min(blockEntries, len(entries))]
			entries = entries[len(part):]
			data := make([]byte, blockSize)
			putExtents(data[:extentTailEnd], part, depth)
			le.PutUint32(data[extentTailEnd:], crc(v.inodeSeed(n.ino), data[:extentTailEnd]))
			at := v.a.one()
			n.index = append(n.index, metaBlock{at, data})
			n.blocks++
			above = append(above, extentEntry{logical: part[0].logical, at: at})
		}
		entries = above
	}
	putExtents(n.inline[:], entries, depth)
}

func splitRuns(runs []run) []extentEntry {
	var list []extentEntry
	logical := uint64(0)
	for _, r := range runs {
		for r.count > 0 {
			c := min(r.count, maxExtent)
			list = append(list, extentEntry{uint32(logical), uint16(c), r.start})
			r.start, r.count, logical = r.start+c, r.count-c, logical+c
		}
	}
	return list
}

// putExtents fills one node of the tree; b is its room without the checksum.
func putExtents(b []byte, entries []extentEntry, depth uint16) {
	le.PutUint16(b[0:], extentMagic)
	le.PutUint16(b[2:], uint16(len(entries)))
	le.PutUint16(b[4:], uint16((len(b)-12)/12))
	le.PutUint16(b[6:], depth)
	for i, e := range entries {
		b := b[12+12*i:]
		le.PutUint32(b[0:], e.logical)
		if depth == 0 {
			le.PutUint16(b[4:], e.count)
			le.PutUint16(b[6:], uint16(e.at>>32))
			le.PutUint32(b[8:], uint32(e.at))
		} else {
			le.PutUint32(b[4:], uint32(e.at))
			le.PutUint16(b[8:], uint16(e.at>>32))
		}
	}
}
