package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Writer writes an image: clusters as they come, then the tables, the header last, so that a broken image is never
// taken for a whole one. It holds the tables in memory, 8 bytes a mapped cluster.
type Writer struct {
	w           io.WriterAt
	size        int64 // virtual, in bytes
	compression Compression
	l1          [][]uint64 // L2 tables by number, nil where nothing is mapped
	refs        []uint16   // by host cluster
	packed      int64      // where the next compressed cluster goes, in bytes; compressed clusters share host clusters
}

// NewWriter returns a Writer of an image of size bytes, a multiple of 512. w must read as zeros where nothing is written.
func NewWriter(w io.WriterAt, size int64, c Compression) (*Writer, error) {
	// QEMU's own limit of an L1 table is 32 MiB, far beyond this.
	const limit = 1 << 50
	if size <= 0 || size%sector != 0 || size > limit {
		return nil, fmt.Errorf("qcow2: %d is no disk size", size)
	}
	tables := (size + l2Entries*ClusterSize - 1) / (l2Entries * ClusterSize)
	return &Writer{w: w, size: size, compression: c, l1: make([][]uint64, tables), refs: []uint16{1}}, nil
}

// Write writes the cluster with the given number: packed, as a Compressor returned it, or cluster itself, which holds
// ClusterSize bytes, where packed is nil. Each cluster is written at most once; one never written reads as zeros.
func (w *Writer) Write(number int64, cluster, packed []byte) error {
	if number < 0 || number*ClusterSize >= w.size {
		return fmt.Errorf("qcow2: no cluster %d", number)
	}
	l2 := &w.l1[number/l2Entries]
	if *l2 == nil {
		*l2 = make([]uint64, l2Entries)
	}
	entry := &(*l2)[number%l2Entries]
	if *entry != 0 {
		return fmt.Errorf("qcow2: cluster %d written twice", number)
	}
	off, data := int64(0), packed
	if packed == nil {
		off, data = w.allocate(1), cluster[:ClusterSize]
		*entry = uint64(off) | flagCopied
	} else {
		off = w.pack(int64(len(packed)))
		more := (off+int64(len(packed))-1)/sector - off/sector // sectors touched after the first
		*entry = uint64(off) | uint64(more)<<(62-(clusterBits-8)) | flagCompressed
	}
	_, err := w.w.WriteAt(data, off)
	return err
}

// allocate takes n host clusters at the image's end and returns their offset.
func (w *Writer) allocate(n int) int64 {
	off := int64(len(w.refs)) * ClusterSize
	for range n {
		w.refs = append(w.refs, 1)
	}
	return off
}

// pack finds room for n bytes, n > 0, and counts the references to the host clusters that hold them.
func (w *Writer) pack(n int64) int64 {
	end := int64(len(w.refs)) * ClusterSize
	room := (ClusterSize - w.packed%ClusterSize) % ClusterSize
	first := w.packed / ClusterSize
	switch {
	case room == 0, n > room && w.packed+room != end, w.refs[first] == math.MaxUint16:
		w.packed = w.allocate(1)
	case n > room:
		w.allocate(1)
		w.refs[first]++
	default:
		w.refs[first]++
	}
	off := w.packed
	w.packed += n
	return off
}

// Close writes the tables and the header and returns the image's size in bytes. It does not close the file.
func (w *Writer) Close() (int64, error) {
	l1 := make([]uint64, len(w.l1))
	for i, table := range w.l1 {
		if table == nil {
			continue
		}
		off := w.allocate(1)
		l1[i] = uint64(off) | flagCopied
		if err := w.table(off, table); err != nil {
			return 0, err
		}
	}
	h := header{
		Magic: magic, Version: 3, ClusterBits: clusterBits, Size: uint64(w.size), L1Size: uint32(len(l1)),
		RefcountOrder: 4, HeaderLength: headerSize, Compression: w.compression,
	}
	if w.compression != Deflate {
		h.Incompatible = incompatCompression
	}
	h.L1Offset = uint64(w.allocate(clusters(len(l1) * 8)))
	if err := errors.Join(w.table(int64(h.L1Offset), l1), w.refcounts(&h)); err != nil {
		return 0, err
	}
	_, err := w.w.WriteAt(h.marshal(), 0)
	return int64(len(w.refs)) * ClusterSize, err
}

// refcounts writes the refcount blocks and their table, which count themselves too, so nothing is allocated after.
func (w *Writer) refcounts(h *header) error {
	blocks, tables := 0, 0
	for n := -1; n != blocks+tables; {
		n = blocks + tables
		blocks = (len(w.refs) + n + refsInBlock - 1) / refsInBlock
		tables = clusters(blocks * 8)
	}
	table := make([]uint64, blocks)
	h.RefcountTableOffset, h.RefcountTableClusters = uint64(w.allocate(tables)), uint32(tables)
	first := w.allocate(blocks)
	for i := range table {
		table[i] = uint64(first) + uint64(i)*ClusterSize
		counts := w.refs[i*refsInBlock : min((i+1)*refsInBlock, len(w.refs))]
		b, err := binary.Append(nil, binary.BigEndian, counts)
		if err != nil {
			return err
		}
		if len(b) < ClusterSize {
			b = append(b, make([]byte, ClusterSize-len(b))...)
		}
		if _, err := w.w.WriteAt(b, int64(table[i])); err != nil {
			return err
		}
	}
	return w.table(int64(h.RefcountTableOffset), table)
}

func (w *Writer) table(off int64, entries []uint64) error {
	b := make([]byte, len(entries)*8)
	for i, e := range entries {
		binary.BigEndian.PutUint64(b[i*8:], e)
	}
	_, err := w.w.WriteAt(b, off)
	return err
}

// clusters is the number of clusters that hold n bytes.
func clusters(n int) int { return (n + ClusterSize - 1) / ClusterSize }
