package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
)

// OpenFolder opens the one appliance in the folder that a bake wrote: the layout oci/, with the disks that stand beside
// it. What is wrong with it shows as with OpenAppliance.
func OpenFolder(ctx context.Context, dir string) (*Layout, *Appliance, error) {
	l, err := OpenLayout(filepath.Join(dir, "oci"))
	if err != nil {
		return nil, nil, err
	}
	x, err := l.Index(ctx)
	if err != nil {
		return nil, nil, err
	}
	var a *Appliance
	for _, d := range x.Manifests {
		if d.MediaType != v1.MediaTypeImageIndex || a != nil && a.Index.Digest == d.Digest {
			continue
		}
		next, err := ReadAppliance(ctx, l, d)
		if errors.Is(err, ErrNoAppliance) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", dir, err)
		}
		if a != nil {
			return nil, nil, fault.Mark(fault.Input, fmt.Errorf("%s: more than one appliance", dir))
		}
		a = next
	}
	if a == nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrNoAppliance)
	}
	l.ProvideDisks(a, dir)
	return l, a, nil
}

// ProvideDisks lets the layout find parts of a's disks that it does not hold in the files of dir: see Provide.
func (l *Layout) ProvideDisks(a *Appliance, dir string) {
	for _, disk := range a.Disks {
		path := filepath.Join(dir, disk.File)
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() != disk.Size {
			continue
		}
		offset := int64(0)
		for _, p := range disk.Parts {
			l.Provide(p, path, offset)
			offset += p.Size
		}
	}
}
