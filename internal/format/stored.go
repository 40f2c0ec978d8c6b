package format

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/sparse"
)

// Large files that do not compress, as weights mostly do not, get their places in a qcow2 image before they are read:
// then their bytes are written and hashed as they come. Whether a region of a file is such is decided by samples.
const (
	regionSize = 4096 // clusters: 256 MiB
	leastRange = 16   // clusters that are worth it
	samples    = 16   // clusters of a region
	// worth is the part of a region that compression must save, or the region is stored as it is: 1/20, so that
	// the image stays within 5 % of the least size.
	worth = 20
)

// incompressible returns the clusters of the disk to be stored without a look at each, ascending. The result depends on
// the disk, its inlays and the compression only.
func (e *encoder) incompressible(ctx context.Context, c qcow2.Compression, level int) ([]qcow2.Range, error) {
	regions := regions(e.disk.Pieces(), e.size)
	stored := make([]bool, len(regions))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(e.jobs)
	for i, r := range regions {
		g.Go(func() (err error) {
			if err = ctx.Err(); err == nil {
				stored[i], err = e.sample(r, c, level)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var list []qcow2.Range
	for i, r := range regions {
		if n := len(list); stored[i] && n > 0 && list[n-1].First+list[n-1].Count == r.First {
			list[n-1].Count += r.Count
		} else if stored[i] {
			list = append(list, r)
		}
	}
	return list, nil
}

// regions cuts the clusters that lie wholly in one of the pieces, ascending and within size.
func regions(pieces []sparse.Extent, size int64) []qcow2.Range {
	var list []qcow2.Range
	for _, p := range pieces {
		first, end := (p.Off+clusterSize-1)/clusterSize, min(p.Off+p.Len, size)/clusterSize
		if end-first < leastRange {
			continue
		}
		for ; first < end; first += regionSize {
			list = append(list, qcow2.Range{First: first, Count: min(regionSize, end-first)})
		}
	}
	return list
}

// sample tells whether compression saves too little of a region.
func (e *encoder) sample(r qcow2.Range, kind qcow2.Compression, level int) (bool, error) {
	c, err := qcow2.NewCompressor(kind, level)
	if err != nil {
		return false, err
	}
	u := &unit{raw: make([]byte, clusterSize)}
	var dst []byte
	n, saved := min(samples, r.Count), 0
	for i := range n {
		u.first = r.First + i*r.Count/n
		if err := e.read(u); err != nil {
			return false, err
		}
		packed, err := c.Compress(dst, u.raw)
		if err != nil {
			return false, err
		}
		if packed != nil {
			saved += clusterSize - len(packed)
			dst = packed
		}
	}
	return saved*worth < int(n)*clusterSize, nil
}

// placer walks along the stored ranges.
type placer struct {
	left []qcow2.Range // those that are not wholly handed out
	at   int64         // place in the image of the first of them
}

// next cuts n clusters from first on so that all or none are stored. It returns their number, and their place if so.
func (p *placer) next(first, n int64) (int64, int64) {
	if len(p.left) == 0 {
		return n, 0
	}
	r := &p.left[0]
	if first < r.First {
		return min(n, r.First-first), 0
	}
	n = min(n, r.Count)
	at := p.at
	r.First, r.Count, p.at = r.First+n, r.Count-n, p.at+n*clusterSize
	if r.Count == 0 {
		p.left = p.left[1:]
	}
	return n, at
}
