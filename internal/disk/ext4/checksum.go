package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// crc continues the CRC32C of feature metadata_csum, which is kept without the final inversion.
func crc(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

func crc32le(sum uint32, v uint32) uint32 { return crc(sum, le.AppendUint32(nil, v)) }

// inodeSeed begins the checksums of what belongs to inode ino, of generation 0.
func (v *Volume) inodeSeed(ino uint32) uint32 { return crc32le(crc32le(v.seed, ino), 0) }
