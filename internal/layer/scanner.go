package layer

import (
	"errors"
	"io"
)

// scanner reads a tar's headers through a small window and skips contents without reading them.
// off is always exactly where the tar reader stands.
type scanner struct {
	r         io.ReaderAt
	size, off int64
	window    [32 << 10]byte
	start     int64 // offset of the window
	have      int   // valid bytes in it
}

func (s *scanner) Read(p []byte) (int, error) {
	if s.off >= s.size {
		return 0, io.EOF
	}
	if s.off < s.start || s.off >= s.start+int64(s.have) {
		n, err := s.r.ReadAt(s.window[:min(int64(len(s.window)), s.size-s.off)], s.off)
		if n == 0 {
			return 0, err
		}
		s.start, s.have = s.off, n
	}
	n := copy(p, s.window[s.off-s.start:s.have])
	s.off += int64(n)
	return n, nil
}

func (s *scanner) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.off
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	s.off = offset
	return offset, nil
}
