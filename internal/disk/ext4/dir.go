package ext4

import (
	"errors"
	"slices"
)

const dirTail = 12 // checksum entry at the end of a folder block

// direntSize is the room of one folder entry.
func direntSize(name string) int { return 8 + roundUp4(len(name)) }

// dirPlan is how a folder's entries are spread over blocks: one block holds all, or an index stands before leaves.
type dirPlan struct {
	single bool
	leaves []leaf
	nodes  int // index blocks below the root
}

// planDir decides on the blocks of n. It gives the same result each time.
func (v *Volume) planDir(n *node) (dirPlan, error) {
	size := direntSize(".") + direntSize("..") + dirTail
	for _, c := range n.children {
		size += direntSize(c.name)
	}
	if size <= blockSize {
		return dirPlan{single: true}, nil
	}
	leaves := v.hashLeaves(n.children)
	p := dirPlan{leaves: leaves}
	if len(leaves) > indexRootLimit {
		p.nodes = int(ceilDiv(uint64(len(leaves)), indexNodeLimit))
	}
	if p.nodes > indexRootLimit {
		return p, errors.New("too many files in one folder")
	}
	return p, nil
}

// lostFoundBlocks is the size e2fsck likes lost+found to have.
const lostFoundBlocks = 4

func (v *Volume) dirBlocks(n *node) (uint64, error) {
	p, err := v.planDir(n)
	if err != nil {
		return 0, err
	}
	n.indexed = !p.single
	switch {
	case p.single && n.entry.Path == "lost+found":
		return lostFoundBlocks, nil
	case p.single:
		return 1, nil
	}
	return uint64(1 + p.nodes + len(p.leaves)), nil
}

// writeDir emits the blocks of folder n in order.
func (v *Volume) writeDir(n *node, emit func([]byte) error) error {
	p, err := v.planDir(n)
	if err != nil {
		return err
	}
	if !p.single {
		return v.writeIndexed(n, p, emit)
	}
	children := append([]child{{".", n}, {"..", n.parent}}, sortedByName(n.children)...)
	for range n.size / blockSize {
		if err := emit(v.leafBlock(n, children)); err != nil {
			return err
		}
		children = nil
	}
	return nil
}

func sortedByName(list []child) []child {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b child) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return list
}

// leafBlock holds the given entries of folder n, the last one stretched to the end, and the checksum.
func (v *Volume) leafBlock(n *node, children []child) []byte {
	b := make([]byte, blockSize)
	end := blockSize - dirTail
	at := 0
	for i, c := range children {
		size := direntSize(c.name)
		if i == len(children)-1 {
			size = end - at
		}
		putDirent(b[at:], c, size)
		at += size
	}
	if len(children) == 0 {
		le.PutUint16(b[4:], uint16(end))
	}
	le.PutUint16(b[end+4:], dirTail)
	b[end+7] = 0xDE
	le.PutUint32(b[end+8:], crc(v.inodeSeed(n.ino), b[:end]))
	return b
}

func putDirent(b []byte, c child, size int) {
	le.PutUint32(b[0:], c.node.ino)
	le.PutUint16(b[4:], uint16(size))
	b[6] = uint8(len(c.name))
	b[7] = direntTypes[c.node.entry.Type]
	copy(b[8:], c.name)
}
