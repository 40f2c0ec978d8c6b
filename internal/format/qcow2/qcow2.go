// Package qcow2 writes and reads disk images in QEMU's format "qcow2", version 3, as QEMU's docs/interop/qcow2
// defines it: 64 KiB clusters, compressed by zstd or deflate.
package qcow2

import (
	"encoding/binary"
	"fmt"
)

// ClusterSize is the size in bytes of the clusters that a Writer writes.
const ClusterSize = 1 << clusterBits

const (
	clusterBits = 16
	l2Entries   = ClusterSize / 8 // clusters that one L2 table maps
	refsInBlock = ClusterSize / 2 // 16-bit reference counts in one refcount block
	headerSize  = 112
	extensions  = 8 // the empty list of header extensions
	magic       = 0x514649fb
	sector      = 512

	flagCopied     = 1 << 63 // the only user of this cluster
	flagCompressed = 1 << 62

	incompatCompression = 1 << 3 // the header names the compression type
)

// Compression is a compression type, as the header's field stores it.
type Compression uint8

// The compression types. Images in Deflate open in every QEMU; Zstd needs QEMU 5.1.
const (
	Deflate Compression = 0
	Zstd    Compression = 1
)

// String returns QEMU's name for c.
func (c Compression) String() string {
	switch c {
	case Deflate:
		return "zlib"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("type %d", uint8(c))
}

// ParseCompression returns the compression type that QEMU calls name; "" means Zstd.
func ParseCompression(name string) (Compression, error) {
	switch name {
	case "", "zstd":
		return Zstd, nil
	case "zlib":
		return Deflate, nil
	}
	return 0, fmt.Errorf("qcow2 compression %q: want zstd or zlib", name)
}

// header is the image header, all fields big-endian.
type header struct {
	Magic, Version        uint32
	BackingOffset         uint64
	BackingSize           uint32
	ClusterBits           uint32
	Size                  uint64
	CryptMethod           uint32
	L1Size                uint32
	L1Offset              uint64
	RefcountTableOffset   uint64
	RefcountTableClusters uint32
	Snapshots             uint32
	SnapshotsOffset       uint64
	Incompatible          uint64
	Compatible, Autoclear uint64
	RefcountOrder         uint32
	HeaderLength          uint32
	Compression           Compression
	CompressionPadding    [7]byte
}

func (h *header) marshal() []byte {
	b, err := binary.Append(nil, binary.BigEndian, h)
	if err != nil {
		panic(err) // the struct has fixed-size fields only
	}
	return append(b, make([]byte, extensions)...)
}
