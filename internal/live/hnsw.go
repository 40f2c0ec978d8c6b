package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

const (
	indexMetadata = "index_metadata.pickle"
	maxElement    = 16 << 20 // bytes of an element in data_level0.bin
)

// segment reads the vectors of one HNSW segment: a folder as Chroma's fork of hnswlib writes it (chroma-core/hnswlib,
// hnswlib/hnswalg.h, HEADER_FIELDS and persistDirty, persistence version 1).
type segment struct {
	level0, length *os.File
	size           int64 // bytes of an element
	label, data    int64 // where its label and its vector lie in it
	normalized     bool  // vectors have length 1, length.bin has the lengths they had
	at             map[uint64]int64
	ids            map[string]uint64 // Chroma's ids → labels
	maxSeq         int64             // in old versions
}

// openSegment returns nil if the segment was never written to disk: then its vectors are all in the queue.
func openSegment(dir string, normalized bool) (*segment, error) {
	meta, err := os.Open(filepath.Join(dir, indexMetadata))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer meta.Close()
	d, err := unpickle(meta)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", meta.Name(), ErrDamaged, err)
	}
	s := &segment{normalized: normalized, at: map[uint64]int64{}, ids: map[string]uint64{}}
	s.maxSeq, _ = d.get("max_seq_id").(int64)
	labels, _ := d.get("id_to_label").(*dict)
	if labels == nil || len(labels.pairs) == 0 {
		return nil, nil // as Chroma sees it
	}
	for _, p := range labels.pairs {
		id, ok := p.key.(string)
		label, ok2 := p.value.(int64)
		if !ok || !ok2 {
			return nil, fmt.Errorf("%s: %w: an id without a label", meta.Name(), ErrDamaged)
		}
		s.ids[id] = uint64(label)
	}
	if err := s.open(dir); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return s, nil
}

func (s *segment) open(dir string) error {
	h, err := os.ReadFile(filepath.Join(dir, "header.bin"))
	if err != nil {
		return err
	}
	if len(h) < 52 || binary.LittleEndian.Uint32(h) != 1 {
		return fmt.Errorf("header.bin: %w, or another version", ErrDamaged)
	}
	field := func(i int) int64 { return int64(binary.LittleEndian.Uint64(h[4+8*i:])) }
	count := field(2) // after offsetLevel0 and max_elements
	s.size, s.label, s.data = field(3), field(4), field(5)
	if s.size <= 0 || s.size > maxElement || s.data < 4 || s.label < s.data || s.label > s.size-8 {
		return fmt.Errorf("header.bin: %w", ErrDamaged)
	}
	if s.level0, err = os.Open(filepath.Join(dir, "data_level0.bin")); err != nil {
		return err
	}
	if s.length, err = os.Open(filepath.Join(dir, "length.bin")); err != nil {
		return err
	}
	info, err := s.level0.Stat()
	if err != nil {
		return err
	}
	if count < 0 || count > info.Size()/s.size {
		return fmt.Errorf("data_level0.bin: %w: it is too short for %d vectors", ErrDamaged, count)
	}
	var label [8]byte
	for i := range count {
		if _, err := s.level0.ReadAt(label[:], i*s.size+s.label); err != nil {
			return err
		}
		s.at[binary.LittleEndian.Uint64(label[:])] = i
	}
	return nil
}

// vector returns the vector of an id as the server gives it, or nil.
func (s *segment) vector(id string) ([]float32, error) {
	label, ok := s.ids[id]
	i, ok2 := s.at[label]
	if !ok || !ok2 {
		return nil, nil
	}
	b := make([]byte, s.label-s.data)
	if _, err := s.level0.ReadAt(b, i*s.size+s.data); err != nil {
		return nil, err
	}
	v := float32s(b)
	if s.normalized {
		var b [4]byte
		if _, err := s.length.ReadAt(b[:], i*4); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		n := float32s(b[:])[0]
		for i := range v {
			v[i] *= n
		}
	}
	return v, nil
}

func float32s(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// Close closes the files.
func (s *segment) Close() {
	if s != nil {
		s.level0.Close() // nil files only return an error
		s.length.Close()
	}
}
