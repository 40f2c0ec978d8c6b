package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/fault"
)

// Blobs lists what the appliance is made of, manifests apart: config and layers of the rootfs, the parts of the disks,
// recipe and lock.
func (a *Appliance) Blobs() []v1.Descriptor {
	list := append([]v1.Descriptor{a.RootfsConfig, a.RecipeConfig, a.Recipe, a.Lock}, a.RootfsLayers...)
	for _, d := range a.Disks {
		list = append(list, d.Parts...)
	}
	return list
}

// Content says what CheckContent read.
type Content struct {
	Blobs  int   `json:"blobs"`  // that are there, and are what they should be
	Bytes  int64 `json:"bytes"`  // of them
	Absent int   `json:"absent"` // blobs that the store does not have
}

// CheckContent reads all blobs to their end, jobs at a time, and holds them against their digests: ErrDigest. What is not
// there is no fault: a pull may have left it out. report, unless nil, is told the bytes of the whole that were read.
func CheckContent(ctx context.Context, s Reader, blobs []v1.Descriptor, jobs int, report func(done, total int64)) (*Content, error) {
	var total int64
	for _, d := range blobs {
		total += d.Size
	}
	var read, bytes, there, absent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(jobs, 1))
	for _, d := range blobs {
		g.Go(func() error {
			r, err := s.Blob(ctx, d, 0)
			if errors.Is(err, ErrNotFound) {
				absent.Add(1)
				return nil
			}
			if err != nil {
				return err
			}
			defer r.Close()
			v, err := Verified(r, d)
			for buf := make([]byte, min(max(d.Size, 1), 1<<20)); err == nil; {
				var n int
				n, err = v.Read(buf)
				if done := read.Add(int64(n)); report != nil {
					report(done, total)
				}
				if err == nil {
					err = context.Cause(ctx)
				}
			}
			if errors.Is(err, io.EOF) {
				there.Add(1)
				bytes.Add(d.Size)
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	return &Content{Blobs: int(there.Load()), Bytes: bytes.Load(), Absent: int(absent.Load())}, err
}

// CheckDisks holds the disk files in dir against the appliance, but for those that are the layout's own blobs or whose
// parts the layout finds there: CheckContent reads these. A file that is missing is no fault.
func (l *Layout) CheckDisks(ctx context.Context, a *Appliance, dir string) error {
	for _, disk := range a.Disks {
		path := filepath.Join(dir, disk.File)
		info, err := os.Lstat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() != disk.Size {
			return fault.Mark(fault.Untrusted, fmt.Errorf("%s is not the appliance's disk of %d bytes", path, disk.Size))
		}
		blob, err := l.Path(disk.Parts[0].Digest)
		if err != nil {
			return err
		}
		if inside, err := os.Lstat(blob); len(disk.Parts) > 1 || err == nil && os.SameFile(info, inside) {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		sums, err := SumFile(ctx, f, 0)
		f.Close()
		if err == nil && sums.SHA256 != disk.SHA256 {
			err = fmt.Errorf("%s: its SHA-256 is %s, not %s: %w", path, sums.SHA256, disk.SHA256, ErrDigest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
