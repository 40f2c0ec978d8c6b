package vmdk

import (
	"encoding/binary"
	"fmt"
	"hash/adler32"

	"github.com/agibake/agibake/internal/format/deflate"
)

// defaultLevel is the fastest level that stays within 5 % of the size that QEMU's own writer reaches.
const defaultLevel = 6

// Compressor compresses grains, one at a time. What it returns depends on the grain only.
type Compressor struct{ deflate *deflate.Compressor }

// NewCompressor returns a Compressor of level 1 to 9, 0 meaning the default, 6.
func NewCompressor(level int) (*Compressor, error) {
	if level < 0 || level > 9 {
		return nil, fmt.Errorf("vmdk compression level %d: want 1 to 9", level)
	}
	if level == 0 {
		level = defaultLevel
	}
	d, err := deflate.New(level)
	return &Compressor{d}, err
}

// Compress returns the grain, of GrainSize bytes, as a zlib stream (RFC 1950), in dst's memory where it fits.
func (c *Compressor) Compress(dst, grain []byte) ([]byte, error) {
	const window32K, noDictionary = 0x78, 0x9c // the two bytes of the zlib header
	dst, err := c.deflate.Append(append(dst[:0], window32K, noDictionary), grain)
	return binary.BigEndian.AppendUint32(dst, adler32.Checksum(grain)), err
}
