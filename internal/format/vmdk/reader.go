package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zlib"

	"github.com/agibake/agibake/internal/blocks"
)

// Image reads the disk in a sparse extent, ours or foreign, as an io.ReaderAt.
type Image struct {
	*blocks.Reader
	Version    int
	Flags      uint32
	Compressed bool
	GrainSize  int64             // bytes
	Descriptor map[string]string // the embedded descriptor's lines "key=value", quotes removed
	Trailing   int64             // bytes after the end-of-stream marker; 0 where there is no such marker

	r        io.ReaderAt
	fileSize int64
	perTable int64
	dir      []byte
	tables   *blocks.Cache
	packed   []byte
	inflate  io.ReadCloser
}

// ErrMagic is returned for a file that is no VMDK at all.
var ErrMagic = errors.New("no VMDK image")

// Open reads the header, descriptor and grain directory of a file of the given size in bytes: the forms
// streamOptimized and monolithicSparse. A descriptor without data, or one with a parent, is refused.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	h, err := readHeader(r, 0)
	if err != nil {
		return nil, err
	}
	m := &Image{Version: int(h.Version), Flags: h.Flags, Compressed: h.Flags&flagCompressed != 0, GrainSize: int64(h.GrainSize) * sector,
		r: r, fileSize: size, perTable: int64(h.TableEntries)}
	if err := m.readDescriptor(h); err != nil {
		return nil, err
	}
	if h.Directory == gdAtEnd {
		if h, err = m.footer(h); err != nil {
			return nil, err
		}
	}
	covered := m.GrainSize * m.perTable
	capacity := int64(h.Capacity) * sector
	m.dir = make([]byte, (capacity+covered-1)/covered*4)
	if err := m.read(m.dir, int64(h.Directory)*sector); err != nil {
		return nil, fmt.Errorf("vmdk: read the grain directory: %w", err)
	}
	const memory = 8 << 20
	m.tables = blocks.NewCache(int(m.perTable*4), 256, func(at int64, dst []byte) error { return m.read(dst, at*sector) })
	m.Reader = blocks.NewReader(capacity, blocks.NewCache(int(m.GrainSize), int(min(256, memory/m.GrainSize)), m.grain))
	return m, nil
}

// readHeader reads and checks the header, or the footer, at off.
func readHeader(r io.ReaderAt, off int64) (*header, error) {
	b := make([]byte, sector)
	n, err := r.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if bytes.HasPrefix(b, []byte("# Disk DescriptorFile")) {
		return nil, errors.New("vmdk: a descriptor only, the disk's data is in other files")
	}
	if n < sector || binary.LittleEndian.Uint32(b) != magic {
		return nil, ErrMagic
	}
	var h header
	if _, err := binary.Decode(b, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	const maxCapacity, maxGrain, maxTable, maxDir = 62 << 40 / sector, 2 << 20 / sector, 512, 4 << 20
	compressed := h.Flags&flagCompressed != 0
	switch {
	case h.Version < 1 || h.Version > 3:
		err = fmt.Errorf("vmdk: version %d is not known", h.Version)
	case h.Capacity > maxCapacity, h.GrainSize == 0, h.GrainSize > maxGrain, h.GrainSize&(h.GrainSize-1) != 0,
		h.TableEntries == 0, h.TableEntries > maxTable, h.Capacity/(h.GrainSize*uint64(h.TableEntries)) > maxDir:
		err = fmt.Errorf("vmdk: %d sectors in grains of %d, %d a table, are beyond the limits", h.Capacity, h.GrainSize, h.TableEntries)
	case compressed && (h.Algorithm != algorithmDeflate || h.Flags&flagMarkers == 0):
		err = fmt.Errorf("vmdk: compression %d with flags %#x is not known", h.Algorithm, h.Flags)
	default:
		return &h, nil
	}
	return nil, err
}

func (m *Image) readDescriptor(h *header) error {
	const limit = 64 << 10 / sector
	if h.DescriptorOffset == 0 || h.DescriptorSize > limit {
		return errors.New("vmdk: one extent of several, or an oversized descriptor")
	}
	b := make([]byte, h.DescriptorSize*sector)
	if err := m.read(b, int64(min(h.DescriptorOffset, 1<<40))*sector); err != nil {
		return fmt.Errorf("vmdk: read the descriptor: %w", err)
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	m.Descriptor = map[string]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(k, "#") {
			m.Descriptor[strings.TrimSpace(k)] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	if p := m.Descriptor["parentCID"]; p != "" && p != "ffffffff" {
		return errors.New("vmdk: the image needs its parent disk")
	}
	return nil
}

// footer finds the footer, which stands before the end-of-stream marker. Some writers leave zeros after that marker.
func (m *Image) footer(h *header) (*header, error) {
	const furthest = 128 << 10
	end := m.fileSize / sector * sector
	for off := end - 2*sector; off > 0 && end-off <= furthest; off -= sector {
		var b [4]byte
		if err := m.read(b[:], off); err != nil {
			return nil, err
		}
		if binary.LittleEndian.Uint32(b[:]) != magic {
			continue
		}
		f, err := readHeader(m.r, off)
		if err != nil {
			return nil, err
		}
		if f.Capacity != h.Capacity || f.GrainSize != h.GrainSize || f.TableEntries != h.TableEntries || f.Flags != h.Flags {
			return nil, errors.New("vmdk: header and footer contradict each other")
		}
		m.Trailing = m.fileSize - off - 2*sector
		return f, nil
	}
	return nil, errors.New("vmdk: the footer is missing; the file may be cut off")
}

// read fills b from the file; what is missing in the last sectors reads as zeros.
func (m *Image) read(b []byte, off int64) error {
	if off < 0 || off >= m.fileSize {
		return fmt.Errorf("offset %d is beyond the file's end", off)
	}
	n, err := m.r.ReadAt(b, off)
	if err == io.EOF {
		err = nil
	}
	clear(b[n:])
	return err
}

// grain fills dst with a grain of the disk.
func (m *Image) grain(number int64, dst []byte) error {
	at := binary.LittleEndian.Uint32(m.dir[number/m.perTable*4:])
	if at == 0 {
		clear(dst)
		return nil
	}
	table, err := m.tables.Get(int64(at))
	if err != nil {
		return fmt.Errorf("vmdk: read a grain table: %w", err)
	}
	const allZeros = 1 // a grain table entry for a grain of zeros
	at = binary.LittleEndian.Uint32(table[number%m.perTable*4:])
	switch {
	case at == 0, at == allZeros:
		clear(dst)
	case m.Compressed:
		err = m.unpack(int64(at)*sector, number, dst)
	default:
		err = m.read(dst, int64(at)*sector)
	}
	if err != nil {
		return fmt.Errorf("vmdk: read grain %d: %w", number, err)
	}
	return nil
}

// unpack fills dst with the compressed grain at off, which its marker must name.
func (m *Image) unpack(off, number int64, dst []byte) error {
	var marker [12]byte
	if err := m.read(marker[:], off); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(marker[8:]))
	if lba := binary.LittleEndian.Uint64(marker[:]); lba != uint64(number*m.GrainSize/sector) || n > 2*m.GrainSize {
		return fmt.Errorf("its marker says sector %d, %d bytes", lba, n)
	}
	if int64(cap(m.packed)) < n {
		m.packed = make([]byte, n)
	}
	if err := m.read(m.packed[:n], off+int64(len(marker))); err != nil {
		return err
	}
	src := bytes.NewReader(m.packed[:n])
	var err error
	if m.inflate == nil {
		m.inflate, err = zlib.NewReader(src)
	} else {
		err = m.inflate.(zlib.Resetter).Reset(src, nil)
	}
	if err != nil {
		return err
	}
	k, err := io.ReadFull(m.inflate, dst)
	clear(dst[k:])
	if err == io.ErrUnexpectedEOF && number == (m.Size()-1)/m.GrainSize {
		return nil // the disk's last grain may be cut at its end
	}
	if err != nil {
		return err
	}
	if _, err := m.inflate.Read(marker[:1]); err != io.EOF { // the checksum is read with the end
		return fmt.Errorf("the stream does not end well: %w", err)
	}
	return nil
}
