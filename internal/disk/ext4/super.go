package ext4

import "encoding/binary"

// Features (kernel documentation, "Super Block").
const (
	compat   = 0x4 | 0x8 | 0x10 | 0x20               // has_journal ext_attr resize_inode dir_index
	incompat = 0x2 | 0x40 | 0x80 | 0x200             // filetype extent 64bit flex_bg
	roCompat = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400 // sparse_super large_file huge_file dir_nlink extra_isize metadata_csum
)

// superblock is struct ext4_super_block without its last field, the checksum.
type superblock struct {
	Inodes, Blocks, ReservedBlocks, FreeBlocks, FreeInodes uint32
	FirstDataBlock, LogBlockSize, LogClusterSize           uint32
	BlocksPerGroup, ClustersPerGroup, InodesPerGroup       uint32
	MountTime, WriteTime                                   uint32
	Mounts, MaxMounts                                      uint16
	Magic, State, Errors, MinorRevision                    uint16
	LastCheck, CheckInterval, Creator, Revision            uint32
	ReservedUID, ReservedGID                               uint16
	FirstInode                                             uint32
	InodeSize, Group                                       uint16
	Compat, Incompat, ROCompat                             uint32
	UUID, Label                                            [16]byte
	LastMounted                                            [64]byte
	Algorithms                                             uint32
	Prealloc, PreallocDir                                  uint8
	ReservedGDT                                            uint16
	JournalUUID                                            [16]byte
	JournalInode, JournalDevice, LastOrphan                uint32
	HashSeed                                               [16]byte
	HashVersion, JournalBackupType                         uint8
	DescSize                                               uint16
	MountOptions, FirstMetaGroup, MadeTime                 uint32
	JournalBackup                                          [17]uint32
	BlocksHigh, ReservedBlocksHigh, FreeBlocksHigh         uint32
	MinExtraSize, WantExtraSize                            uint16
	Flags                                                  uint32
	RAIDStride, MMPInterval                                uint16
	MMPBlock                                               uint64
	RAIDWidth                                              uint32
	LogGroupsPerFlex, ChecksumType                         uint8
	_                                                      uint16
	KBytesWritten                                          uint64
	_                                                      [0x248 - 0x180]byte
	Overhead                                               uint32
	_                                                      [0x3FC - 0x24C]byte
}

// superblock encodes the copy in group n.
func (v *Volume) superblock(n uint32, free totals) ([]byte, error) {
	g := v.g
	reserved := g.blocks * uint64(v.o.ReservedPercent) / 100
	now := uint32(v.o.Time)
	s := superblock{
		Inodes: g.inodes(), FreeInodes: uint32(free.inodes),
		Blocks: uint32(g.blocks), BlocksHigh: uint32(g.blocks >> 32),
		ReservedBlocks: uint32(reserved), ReservedBlocksHigh: uint32(reserved >> 32),
		FreeBlocks: uint32(free.blocks), FreeBlocksHigh: uint32(free.blocks >> 32),
		LogBlockSize: 2, LogClusterSize: 2, // 1024 << 2
		BlocksPerGroup: groupBlocks, ClustersPerGroup: groupBlocks, InodesPerGroup: g.inodesPerGroup,
		WriteTime: now, LastCheck: now, MadeTime: now,
		MaxMounts: 0xFFFF, Magic: 0xEF53, State: 1, Errors: 1, Revision: 1,
		FirstInode: firstIno, InodeSize: inodeSize, Group: uint16(n),
		Compat: compat, Incompat: incompat, ROCompat: roCompat,
		UUID: v.o.UUID, HashSeed: v.o.HashSeed, HashVersion: hashHalfMD4,
		ReservedGDT: uint16(g.reservedGDT), DescSize: descSize,
		JournalInode: journalIno, JournalBackupType: 1,
		MountOptions: 0x4 | 0x8, // user_xattr acl
		MinExtraSize: extraSize, WantExtraSize: extraSize,
		Flags:            1, // hashes of signed characters
		LogGroupsPerFlex: 4, ChecksumType: 1,
		Overhead: uint32(g.overhead() + g.journalBlocks()),
	}
	copy(s.Label[:], v.o.Label)
	for i := range 15 {
		s.JournalBackup[i] = le.Uint32(v.jour.inline[4*i:])
	}
	s.JournalBackup[15], s.JournalBackup[16] = uint32(v.jour.size>>32), uint32(v.jour.size)
	b, err := binary.Append(make([]byte, 0, 1024), le, s)
	if err != nil {
		return nil, err
	}
	return le.AppendUint32(b, crc(^uint32(0), b)), nil
}

// overhead is the number of blocks in fixed tables.
func (g *geometry) overhead() (n uint64) {
	for _, f := range g.fixed {
		n += f.count
	}
	return n
}
