package ext4

import (
	"cmp"
	"math/bits"
	"slices"
)

// Hash tree folders (kernel documentation, "Hash Tree Directories"), with the half MD4 hash of signed characters.
const (
	indexRootStart = 32
	indexNodeStart = 8
	indexTail      = 8
	indexRootLimit = (blockSize - indexRootStart - indexTail) / 8
	indexNodeLimit = (blockSize - indexNodeStart - indexTail) / 8
	// leafFill leaves a fifth of each leaf for later names, as e2fsck -D does.
	leafFill = (blockSize - dirTail) * 4 / 5
)

// leaf is one block of entries with ascending hashes.
type leaf struct {
	hash     uint32 // lowest in the leaf; the lowest bit says that the leaf before ends with the same hash
	children []child
}

type hashed struct {
	major, minor uint32
	child
}

// hashLeaves spreads children over leaves in the order of their hashes.
func (v *Volume) hashLeaves(children []child) []leaf {
	list := make([]hashed, len(children))
	for i, c := range children {
		major, minor := nameHash(v.o.HashSeed, c.name)
		list[i] = hashed{major, minor, c}
	}
	slices.SortFunc(list, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor), cmp.Compare(a.name, b.name))
	})
	var leaves []leaf
	room, last := 0, uint32(0)
	for i, h := range list {
		size := direntSize(h.name)
		if i == 0 || size > room {
			hash := h.major
			if i > 0 && hash == last {
				hash |= 1
			}
			leaves, room = append(leaves, leaf{hash: hash}), leafFill
		}
		l := &leaves[len(leaves)-1]
		l.children = append(l.children, h.child)
		room -= size
		last = h.major
	}
	leaves[0].hash = 0
	return leaves
}

// writeIndexed emits the root, the index nodes if there are any, then the leaves.
func (v *Volume) writeIndexed(n *node, p dirPlan, emit func([]byte) error) error {
	first := uint32(1 + p.nodes) // logical block of the first leaf
	entries := make([]indexEntry, len(p.leaves))
	for i, l := range p.leaves {
		entries[i] = indexEntry{l.hash, first + uint32(i)}
	}
	top, nodes := entries, [][]indexEntry(nil)
	if p.nodes > 0 {
		top = nil
		for part := range slices.Chunk(entries, indexNodeLimit) {
			nodes = append(nodes, part)
			top = append(top, indexEntry{part[0].hash, uint32(len(nodes))})
		}
	}
	if err := emit(v.indexRoot(n, top, len(nodes) > 0)); err != nil {
		return err
	}
	for _, part := range nodes {
		b := make([]byte, blockSize)
		le.PutUint16(b[4:], blockSize) // an unused entry over the whole block
		v.putIndex(n, b, indexNodeStart, indexNodeLimit, part)
		if err := emit(b); err != nil {
			return err
		}
	}
	for _, l := range p.leaves {
		if err := emit(v.leafBlock(n, l.children)); err != nil {
			return err
		}
	}
	return nil
}

type indexEntry struct{ hash, block uint32 }

func (v *Volume) indexRoot(n *node, entries []indexEntry, deep bool) []byte {
	b := make([]byte, blockSize)
	putDirent(b, child{".", n}, 12)
	putDirent(b[12:], child{"..", n.parent}, blockSize-12)
	b[28] = hashHalfMD4
	b[29] = 8 // length of this information
	if deep {
		b[30] = 1 // levels below
	}
	v.putIndex(n, b, indexRootStart, indexRootLimit, entries)
	return b
}

// putIndex writes entries from offset start on, the first one's hash giving way to limit and count, and the checksum.
func (v *Volume) putIndex(n *node, b []byte, start, limit int, entries []indexEntry) {
	for i, e := range entries {
		le.PutUint32(b[start+8*i:], e.hash)
		le.PutUint32(b[start+8*i+4:], e.block)
	}
	le.PutUint16(b[start:], uint16(limit))
	le.PutUint16(b[start+2:], uint16(len(entries)))
	sum := crc(v.inodeSeed(n.ino), b[:start+8*len(entries)])
	le.PutUint32(b[start+8*limit+4:], crc(sum, make([]byte, indexTail)))
}

const (
	hashHalfMD4 = 1
	hashEnd     = 0xfffffffe // not a hash: the end of a folder while it is read
)

// nameHash is the hash of a name under which an index finds it.
func nameHash(seed [16]byte, name string) (major, minor uint32) {
	h := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [16]byte{} {
		for i := range h {
			h[i] = le.Uint32(seed[4*i:])
		}
	}
	for rest := name; len(rest) > 0; rest = rest[min(32, len(rest)):] {
		halfMD4(&h, hashWords(rest))
	}
	major = h[1] &^ 1
	if major == hashEnd {
		major = hashEnd - 2
	}
	return major, h[2]
}

// hashWords packs up to 32 signed characters into words, padded with the length of what remains of the name.
func hashWords(s string) (w [8]uint32) {
	pad := uint32(len(s)) | uint32(len(s))<<8
	pad |= pad << 16
	for i := range w {
		w[i] = pad
		for j := 4 * i; j < min(4*i+4, len(s)); j++ {
			w[i] = w[i]<<8 + uint32(int32(int8(s[j])))
		}
	}
	return w
}

// halfMD4 is the transform of MD4 (RFC 1320) cut to eight steps a round, over half as many words.
func halfMD4(h *[4]uint32, in [8]uint32) {
	a, b, c, d := h[0], h[1], h[2], h[3]
	round := func(f func(x, y, z uint32) uint32, k uint32, order [8]int, shift [4]int) {
		for i, word := range order {
			a = bits.RotateLeft32(a+f(b, c, d)+in[word]+k, shift[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	round(func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19})
	round(func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13})
	round(func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15})
	h[0], h[1], h[2], h[3] = h[0]+a, h[1]+b, h[2]+c, h[3]+d
}
