package ext4

import (
	"encoding/binary"
	"slices"
)

// Inode flags.
const (
	flagIndex   = 0x1000
	flagExtents = 0x80000
)

// diskInode is struct ext4_inode (kernel documentation, "Index Nodes"), before the attributes in its body.
type diskInode struct {
	Mode, UID                  uint16
	Size                       uint32
	Atime, Ctime, Mtime, Dtime uint32
	GID, Links                 uint16
	Blocks, Flags, Version     uint32
	Block                      [60]byte
	Generation                 uint32
	ACL, SizeHigh, Fragment    uint32
	BlocksHigh, ACLHigh        uint16
	UIDHigh, GIDHigh           uint16
	Checksum, _                uint16
	ExtraSize, ChecksumHigh    uint16
	CtimeExtra, MtimeExtra     uint32
	AtimeExtra                 uint32
	Crtime, CrtimeExtra        uint32
	VersionHigh, Project       uint32
}

// inode encodes n.
func (v *Volume) inode(n *node) ([]byte, error) {
	e := n.entry
	sectors := n.blocks * (blockSize / 512)
	sec, extra := diskTime(e.ModTime)
	d := diskInode{
		Mode: modeBits[e.Type] | uint16(e.Mode), Links: uint16(n.links),
		UID: uint16(e.UID), UIDHigh: uint16(e.UID >> 16), GID: uint16(e.GID), GIDHigh: uint16(e.GID >> 16),
		Size: uint32(n.size), SizeHigh: uint32(n.size >> 32), Blocks: uint32(sectors), BlocksHigh: uint16(sectors >> 32),
		Atime: sec, Ctime: sec, Mtime: sec, Crtime: sec,
		AtimeExtra: extra, CtimeExtra: extra, MtimeExtra: extra, CrtimeExtra: extra,
		Block: n.inline, ExtraSize: extraSize,
	}
	if n.extents {
		d.Flags |= flagExtents
	}
	if n.indexed {
		d.Flags |= flagIndex
	}
	if n.acl != nil {
		d.ACL, d.ACLHigh = uint32(n.acl.at), uint16(n.acl.at>>32)
	}
	b, err := binary.Append(make([]byte, 0, inodeSize), le, d)
	if err != nil {
		return nil, err
	}
	b = append(b, n.inBody...)
	b = slices.Grow(b, inodeSize-len(b))[:inodeSize]
	sum := crc(v.inodeSeed(n.ino), b)
	le.PutUint16(b[0x7C:], uint16(sum))
	le.PutUint16(b[0x82:], uint16(sum>>16))
	return b, nil
}

// diskTime splits seconds since 1970 into the 32-bit field and the two epoch bits of the extra field, cutting what is
// outside 1901 to 2446.
func diskTime(t int64) (sec, extra uint32) {
	t = min(max(t, -1<<31), 1<<34-1<<31-1)
	return uint32(t), uint32((t-int64(int32(t)))>>32) & 3
}
