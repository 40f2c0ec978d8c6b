package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Writer writes a streamOptimized image from start to end. Its parts are, in order: header, descriptor, grains with
// the grain table of each 32 MiB after them, grain directory, footer, end-of-stream marker. Nothing follows that marker.
type Writer struct {
	w        io.Writer
	capacity int64 // bytes
	sectors  int64 // written so far
	last     int64 // number of the newest grain
	grains   int64
	table    [tableEntries]uint32
	filled   bool // whether table maps anything
	dir      []uint32
	scratch  []byte
	err      error
}

// NewWriter begins an image of capacity bytes, a multiple of 512. cid is the content's identifier, any fixed number
// but 0xffffffff.
func NewWriter(w io.Writer, capacity int64, cid uint32) (*Writer, error) {
	// Grain tables hold 32-bit sector numbers, so a file ends at 2 TiB; ESXi takes disks of 62 TiB.
	const limit = 62 << 40
	if capacity <= 0 || capacity%sector != 0 || capacity > limit {
		return nil, fmt.Errorf("vmdk: %d is no disk size", capacity)
	}
	const tableBytes = tableEntries * GrainSize
	v := &Writer{w: w, capacity: capacity, last: -1, dir: make([]uint32, (capacity+tableBytes-1)/tableBytes)}
	h := newHeader(capacity)
	v.write(h.marshal())
	v.write(descriptor(capacity, cid))
	v.write(make([]byte, grainSectors*sector-(descriptorSector+descriptorSectors)*sector))
	return v, v.err
}

// Write writes the grain with the given number, as a Compressor returned it. Numbers must ascend; a grain never
// written reads as zeros.
func (v *Writer) Write(number int64, packed []byte) error {
	if number <= v.last || number*GrainSize >= v.capacity {
		return fmt.Errorf("vmdk: grain %d after %d", number, v.last)
	}
	if v.last/tableEntries != number/tableEntries {
		v.flush()
	}
	if v.sectors > math.MaxUint32-2*grainSectors {
		return errors.New("vmdk: the image is larger than 2 TiB")
	}
	v.table[number%tableEntries], v.filled = uint32(v.sectors), true
	v.last = number
	v.grains++
	b := binary.LittleEndian.AppendUint64(v.scratch[:0], uint64(number*grainSectors))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packed)))
	b = append(b, packed...)
	b = append(b, make([]byte, (sector-len(b)%sector)%sector)...)
	v.scratch = b
	v.write(b)
	return v.err
}

// Populated is the number of bytes that the grains written so far stand for.
func (v *Writer) Populated() int64 { return v.grains * GrainSize }

// Close writes what follows the grains. It does not close the file.
func (v *Writer) Close() error {
	v.flush()
	dir := make([]byte, (len(v.dir)*4+sector-1)/sector*sector)
	for i, at := range v.dir {
		binary.LittleEndian.PutUint32(dir[i*4:], at)
	}
	v.marker(len(dir)/sector, markerDirectory)
	h := newHeader(v.capacity)
	h.Directory = uint64(v.sectors)
	v.write(dir)
	v.marker(1, markerFooter)
	v.write(h.marshal())
	v.marker(0, markerEnd)
	return v.err
}

// flush writes the current grain table, if it maps anything.
func (v *Writer) flush() {
	if !v.filled {
		return
	}
	b := make([]byte, tableEntries*4)
	for i, at := range v.table {
		binary.LittleEndian.PutUint32(b[i*4:], at)
	}
	v.marker(len(b)/sector, markerTable)
	v.dir[v.last/tableEntries] = uint32(v.sectors)
	v.write(b)
	v.table, v.filled = [tableEntries]uint32{}, false
}

// marker writes the marker of a structure that takes the given number of sectors.
func (v *Writer) marker(sectors, kind int) {
	var b [sector]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(sectors))
	binary.LittleEndian.PutUint32(b[12:], uint32(kind))
	v.write(b[:])
}

// write writes b, whole sectors, and keeps the first error.
func (v *Writer) write(b []byte) {
	if v.err != nil {
		return
	}
	_, v.err = v.w.Write(b)
	v.sectors += int64(len(b) / sector)
}
