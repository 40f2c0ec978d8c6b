package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/blocks"
)

// Image reads the disk in an image, ours or foreign, as an io.ReaderAt.
type Image struct {
	*blocks.Reader
	Version     int
	ClusterSize int64
	Compression Compression

	r        io.ReaderAt
	fileSize int64
	bits     uint
	l1       []byte
	l2       *blocks.Cache
	packed   []byte // the compressed cluster being read
	zstd     *zstd.Decoder
	deflate  io.ReadCloser
}

// ErrMagic is returned for a file that is no qcow2 image at all.
var ErrMagic = errors.New("no qcow2 image")

const offsetMask = 1<<56 - 1<<9 // of an L1 or L2 entry, bits 9 to 55

// Open reads the tables of an image of the given size in bytes. Images that need another file (backing file, external
// data), a key, or a feature unknown here are refused.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	m := &Image{Version: int(h.Version), ClusterSize: 1 << h.ClusterBits, Compression: h.Compression, r: r, fileSize: size, bits: uint(h.ClusterBits),
		deflate: flate.NewReader(nil)}
	// An L1 entry maps the clusters of one L2 table, itself one cluster.
	covered := m.ClusterSize * (m.ClusterSize / 8)
	need := (int64(h.Size) + covered - 1) / covered
	if need > int64(h.L1Size) {
		return nil, fmt.Errorf("qcow2: L1 table of %d entries, %d needed", h.L1Size, need)
	}
	m.l1 = make([]byte, need*8)
	if err := m.read(m.l1, h.L1Offset); err != nil {
		return nil, fmt.Errorf("qcow2: read the L1 table: %w", err)
	}
	if m.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20)); err != nil {
		return nil, err
	}
	const memory = 8 << 20 // for each cache
	limit := int(min(256, memory/m.ClusterSize))
	m.l2 = blocks.NewCache(int(m.ClusterSize), limit, func(at int64, dst []byte) error { return m.read(dst, uint64(at)) })
	m.Reader = blocks.NewReader(int64(h.Size), blocks.NewCache(int(m.ClusterSize), limit, m.cluster))
	return m, nil
}

// readHeader reads and checks the header; version 2 lacks the fields from Incompatible on.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	const v2, v3 = 72, 104
	b := make([]byte, headerSize)
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n < v2 || binary.BigEndian.Uint32(b) != magic {
		return nil, ErrMagic
	}
	var h header
	if _, err := binary.Decode(b, binary.BigEndian, &h); err != nil {
		return nil, err
	}
	if h.Version == 2 {
		h.Incompatible, h.HeaderLength = 0, v2
	}
	if h.HeaderLength < headerSize {
		h.Compression = Deflate
	}
	const maxL1, maxSize = 32 << 20 / 8, 1 << 62
	unknown := h.Incompatible &^ (incompatCompression | 1) // bit 0: refcounts may be wrong, which reading does not mind
	switch {
	case h.Version != 2 && h.Version != 3:
		err = fmt.Errorf("qcow2: version %d is not known", h.Version)
	case h.Version == 3 && (n < v3 || h.HeaderLength < v3):
		err = errors.New("qcow2: the header is cut off")
	case h.ClusterBits < 9 || h.ClusterBits > 21:
		err = fmt.Errorf("qcow2: clusters of 2^%d bytes are not allowed", h.ClusterBits)
	case h.BackingOffset != 0:
		err = fmt.Errorf("qcow2: the image needs its backing file %q; merge them with `qemu-img convert`", backing(r, &h, size))
	case h.CryptMethod != 0:
		err = errors.New("qcow2: the image is encrypted")
	case unknown&(1<<2) != 0:
		err = errors.New("qcow2: the data is in another file")
	case unknown&(1<<1) != 0:
		err = errors.New("qcow2: the image is marked corrupt; `qemu-img check -r all` may repair it")
	case unknown != 0:
		err = fmt.Errorf("qcow2: incompatible features %#x are not known", unknown)
	case h.L1Size > maxL1 || h.Size > maxSize:
		err = fmt.Errorf("qcow2: a disk of %d bytes with %d L1 entries is beyond the limits", h.Size, h.L1Size)
	case h.Compression > Zstd:
		err = fmt.Errorf("qcow2: compression %v is not known", h.Compression)
	default:
		return &h, nil
	}
	return nil, err
}

// backing returns the name of the backing file, for a message.
func backing(r io.ReaderAt, h *header, size int64) string {
	const limit = 1023
	if h.BackingOffset > uint64(size) {
		return ""
	}
	name := make([]byte, min(h.BackingSize, limit))
	n, _ := r.ReadAt(name, int64(h.BackingOffset))
	return string(name[:n])
}

// read fills b from the file. Images may end within their last cluster: what is missing reads as zeros.
func (m *Image) read(b []byte, off uint64) error {
	if off >= uint64(m.fileSize) {
		return fmt.Errorf("offset %d is beyond the file's end", off)
	}
	n, err := m.r.ReadAt(b, int64(off))
	if err == io.EOF {
		err = nil
	}
	clear(b[n:])
	return err
}

// cluster fills dst with a cluster of the disk.
func (m *Image) cluster(number int64, dst []byte) error {
	perTable := m.ClusterSize / 8
	table := binary.BigEndian.Uint64(m.l1[number/perTable*8:]) & offsetMask
	if table == 0 {
		clear(dst)
		return nil
	}
	if table%uint64(m.ClusterSize) != 0 {
		return fmt.Errorf("qcow2: L2 table at %#x is not aligned", table)
	}
	l2, err := m.l2.Get(int64(table))
	if err != nil {
		return fmt.Errorf("qcow2: read an L2 table: %w", err)
	}
	entry := binary.BigEndian.Uint64(l2[number%perTable*8:])
	const allZeros = 1 // bit 0, version 3
	switch off := entry & offsetMask; {
	case entry&flagCompressed != 0:
		err = m.unpack(entry, dst)
	case off == 0, entry&allZeros != 0 && m.Version >= 3:
		clear(dst)
	case off%uint64(m.ClusterSize) != 0:
		err = fmt.Errorf("its offset %#x is not aligned", off)
	default:
		err = m.read(dst, off)
	}
	if err != nil {
		return fmt.Errorf("qcow2: read cluster %d: %w", number, err)
	}
	return nil
}

// unpack fills dst with a compressed cluster.
func (m *Image) unpack(entry uint64, dst []byte) error {
	shift := 62 - (m.bits - 8)
	off := entry & (1<<shift - 1)
	sectors := (entry&^(flagCompressed|flagCopied))>>shift + 1
	n := int(sectors*sector - off%sector)
	if cap(m.packed) < n {
		m.packed = make([]byte, n)
	}
	if err := m.read(m.packed[:n], off); err != nil {
		return err
	}
	src := bytes.NewReader(m.packed[:n])
	// The last sector may hold the next cluster's bytes too, so the reader stops at a cluster's worth of output.
	if m.Compression == Zstd {
		if err := m.zstd.Reset(src); err != nil {
			return err
		}
		_, err := io.ReadFull(m.zstd, dst)
		return err
	}
	if err := m.deflate.(flate.Resetter).Reset(src, nil); err != nil {
		return err
	}
	_, err := io.ReadFull(m.deflate, dst)
	return err
}
