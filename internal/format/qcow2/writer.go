package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Range is a run of clusters of the disk, by number.
type Range struct{ First, Count int64 }

// Writer writes an image: clusters as they come, then the tables, the header last, so that a broken image is never
// taken for a whole one. It holds the tables in memory, 8 bytes a mapped cluster.
type Writer struct {
	w      io.WriterAt
	size   int64 // virtual, in bytes
	header header
	l1     [][]uint64 // L2 tables by number, nil where nothing is mapped
	refs   []uint16   // by host cluster
	packed int64      // where the next compressed cluster goes, in bytes; compressed clusters share host clusters
}

// NewWriter returns a Writer of an image of size bytes, a multiple of 512. w must read as zeros where nothing is written.
// The clusters of stored, ascending, have their places from StoredStart on, one after the other, whatever is written
// elsewhere; the caller puts their content there.
func NewWriter(w io.WriterAt, size int64, c Compression, stored []Range) (*Writer, error) {
	// QEMU's own limit of an L1 table is 32 MiB, far beyond this.
	const limit = 1 << 50
	if size <= 0 || size%sector != 0 || size > limit {
		return nil, fmt.Errorf("qcow2: %d is no disk size", size)
	}
	tables := (size + l2Entries*ClusterSize - 1) / (l2Entries * ClusterSize)
	v := &Writer{w: w, size: size, l1: make([][]uint64, tables), refs: []uint16{1}}
	next := int64(0)
	for _, r := range stored {
		if r.First < next || r.Count <= 0 || r.Count > size/ClusterSize-r.First {
			return nil, fmt.Errorf("qcow2: no %d clusters from %d on", r.Count, r.First)
		}
		for next = r.First; next < r.First+r.Count; next++ {
			*v.entry(next) = uint64(v.allocate(1)) | flagCopied
		}
	}
	v.begin(c)
	return v, nil
}

// StoredStart is the offset of the first stored cluster: after the header.
const StoredStart = ClusterSize

// begin fixes the header: the L1 table and the refcount table come next, the latter of the size that the largest
// possible file needs.
func (w *Writer) begin(c Compression) {
	w.header = header{
		Magic: magic, Version: 3, ClusterBits: clusterBits, Size: uint64(w.size), L1Size: uint32(len(w.l1)),
		RefcountOrder: 4, HeaderLength: headerSize, Compression: c,
	}
	if c != Deflate {
		w.header.Incompatible = incompatCompression
	}
	l1 := clusters(len(w.l1) * 8)
	w.header.L1Offset = uint64(w.allocate(l1))
	most := 1 + int((w.size+ClusterSize-1)/ClusterSize) + len(w.l1) + l1
	blocks, table := 0, 0
	for n := -1; n != blocks+table; {
		n = blocks + table
		blocks = (most + n + refsInBlock - 1) / refsInBlock
		table = clusters(blocks * 8)
	}
	w.header.RefcountTableOffset, w.header.RefcountTableClusters = uint64(w.allocate(table)), uint32(table)
}

// Head returns the first StoredStart bytes of the image, which Close writes.
func (w *Writer) Head() []byte {
	return append(w.header.marshal(), make([]byte, ClusterSize)...)[:ClusterSize]
}

// entry returns the L2 entry of a cluster.
func (w *Writer) entry(number int64) *uint64 {
	l2 := &w.l1[number/l2Entries]
	if *l2 == nil {
		*l2 = make([]uint64, l2Entries)
	}
	return &(*l2)[number%l2Entries]
}

// Write writes the cluster with the given number: packed, as a Compressor returned it, or cluster itself, which holds
// ClusterSize bytes, where packed is nil. Each cluster is written at most once; one never written reads as zeros.
func (w *Writer) Write(number int64, cluster, packed []byte) error {
	if number < 0 || number*ClusterSize >= w.size {
		return fmt.Errorf("qcow2: no cluster %d", number)
	}
	entry := w.entry(number)
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
	if err := errors.Join(w.table(int64(w.header.L1Offset), l1), w.refcounts()); err != nil {
		return 0, err
	}
	_, err := w.w.WriteAt(w.header.marshal(), 0)
	return int64(len(w.refs)) * ClusterSize, err
}

// refcounts writes the refcount blocks, which count themselves too, so nothing is allocated after, and their table.
func (w *Writer) refcounts() error {
	blocks := 0
	for n := -1; n != blocks; {
		n = blocks
		blocks = (len(w.refs) + n + refsInBlock - 1) / refsInBlock
	}
	table := make([]uint64, blocks)
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
	return w.table(int64(w.header.RefcountTableOffset), table)
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
