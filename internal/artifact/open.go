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

// OpenFolder opens the one appliance in the folder that a bake or a pull wrote: the layout oci/, with the disks that stand
// beside it. What is wrong with it shows as with OpenAppliance.
func OpenFolder(ctx context.Context, dir string) (*Layout, *Appliance, error) {
	l, err := OpenLayout(filepath.Join(dir, "oci"))
	if err != nil {
		return nil, nil, err
	}
	a, err := l.OnlyAppliance(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	l.ProvideDisks(a, dir)
	return l, a, nil
}

// OnlyAppliance opens the one appliance of a layout, whatever it is called there.
func (l *Layout) OnlyAppliance(ctx context.Context) (*Appliance, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
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
			return nil, err
		}
		if a != nil {
			return nil, fault.Hint(fault.Mark(fault.Input, errors.New("more than one appliance")), "name one by its tag: oci:FOLDER:TAG")
		}
		a = next
	}
	if a == nil {
		return nil, ErrNoAppliance
	}
	return a, nil
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
