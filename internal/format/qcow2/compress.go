package qcow2

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/format/deflate"
)

// deflateWindow is the largest window that QEMU's reader is sure to hold (12 bits).
const deflateWindow = 4096

// minGain is what compression must save of a cluster, or the cluster is stored as it is: that reads faster.
const minGain = ClusterSize / 32

// Compressor compresses clusters, one at a time. What it returns depends on the cluster only.
type Compressor struct {
	zstd    *zstd.Encoder
	deflate *deflate.Compressor
}

// NewCompressor returns a Compressor. Level 1 to 4 are zstd's fastest to best; 0 is 2, the fastest within 2 % of
// the size that QEMU's own writer reaches. Deflate has one level.
func NewCompressor(t Compression, level int) (*Compressor, error) {
	if level < 0 || level > 4 {
		return nil, fmt.Errorf("qcow2 compression level %d: want 1 to 4", level)
	}
	var c Compressor
	var err error
	switch t {
	case Zstd:
		if level == 0 {
			level = int(zstd.SpeedDefault)
		}
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevel(level)), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(ClusterSize), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false),
			// Weights have uneven bytes but no repetitions, which this level would not look for by itself.
			zstd.WithAllLitEntropyCompression(true))
	case Deflate:
		c.deflate, err = deflate.NewWindow(deflateWindow)
	default:
		err = fmt.Errorf("qcow2 compression %v: cannot be written", t)
	}
	return &c, err
}

// Compress returns the compressed cluster, in dst's memory where it fits, or nil where the cluster is better stored
// as it is.
func (c *Compressor) Compress(dst, cluster []byte) ([]byte, error) {
	var err error
	if c.zstd != nil {
		dst = c.zstd.EncodeAll(cluster, dst[:0])
	} else if dst, err = c.deflate.Append(dst[:0], cluster); err != nil {
		return nil, err
	}
	if len(dst) > ClusterSize-minGain {
		return nil, nil
	}
	return dst, nil
}
