// Package format turns one raw disk into the image formats of an appliance, reading the disk once and compressing
// on all processors.
package format

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/sparse"
)

// Kind names an image format; it is also the usual file name extension.
type Kind string

// The formats that Encode writes.
const (
	Raw   Kind = "raw"
	QCOW2 Kind = "qcow2"
	VMDK  Kind = "vmdk" // streamOptimized
	OVA   Kind = "ova"
)

// Kinds lists the formats.
var Kinds = []Kind{Raw, QCOW2, VMDK, OVA}

// Output is one image to write.
type Output struct {
	Format Kind
	Path   string
}

// Options tunes Encode.
type Options struct {
	Compression string         // of qcow2 clusters: "zstd" (also "") or "zlib"
	Level       int            // of zstd, 1 to 4; 0 is the measured default
	Jobs        int            // goroutines that compress, at least 2; 0 means one a processor. It never changes the bytes written.
	Seed        string         // identifiers derive from it: the lock's digest
	Inlays      []sparse.Inlay // files that lie over the disk
	OVA         ova.Spec       // the machine, where an OVA is among the outputs; DiskCapacity is set by Encode
}

// Result tells what was written.
type Result struct {
	Output
	LogicalSize   int64 // of the disk in it, bytes
	artifact.Sums       // of the file
}

// Encode writes the disk raw into every output. All outputs appear together, each under its final name only when it
// is whole; results are in the order of outs. It moves raw's offset and holds a few MiB a job. The disk is raw with
// o.Inlays, which stay open.
func Encode(ctx context.Context, raw *os.File, outs []Output, o Options, p progress.Func) ([]Result, error) {
	info, err := raw.Stat()
	if err != nil {
		return nil, err
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	o.OVA.DiskCapacity = info.Size()
	e, err := newEncoder(ctx, raw, info.Size(), outs, o)
	defer e.abort()
	if err != nil {
		return nil, err
	}
	if err := e.run(ctx, p); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.names(), err)
	}
	results := make([]Result, len(outs))
	g, ctx := errgroup.WithContext(ctx)
	for i, t := range e.targets {
		g.Go(t.file.Sync) // finish reads meanwhile; the little that it writes is flushed by Commit
		g.Go(func() error {
			sums, err := t.finish(ctx)
			results[i] = Result{t.out, info.Size(), sums}
			if err != nil {
				return fmt.Errorf("write %s: %w", t.out.Path, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, t := range e.targets {
		if err := t.file.Commit(); err != nil {
			return nil, err
		}
	}
	p.Count("format", e.names(), info.Size(), info.Size())
	return results, nil
}

// check refuses outputs that make no sense together.
func check(outs []Output, o Options) (qcow2.Compression, error) {
	seen := map[Kind]bool{}
	for _, out := range outs {
		if !slices.Contains(Kinds, out.Format) {
			err := fmt.Errorf("unknown image format %q", out.Format)
			return 0, fault.Mark(fault.Input, fault.Hint(err, fmt.Sprintf("the formats are %s", join(Kinds))))
		}
		if seen[out.Format] {
			return 0, fault.Mark(fault.Input, fmt.Errorf("image format %s listed twice", out.Format))
		}
		seen[out.Format] = true
	}
	if len(outs) == 0 {
		return 0, errors.New("no image format to encode")
	}
	c, err := qcow2.ParseCompression(o.Compression)
	return c, fault.Mark(fault.Input, err)
}

func join(kinds []Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
