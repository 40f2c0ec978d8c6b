package resolve

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// imageArchive pins the image of a docker save archive, or of an OCI layout in a tar file.
func (v *resolver) imageArchive(ctx context.Context, c recipe.Container) (lock.Container, error) {
	file := v.local(c.Image.Archive)
	if old := v.unchanged(c, file); old != nil {
		pinned := *old
		pinned.Source = "archive:" + v.movable(c.Image.Archive)
		return pinned, nil
	}
	seen, err := cas.See(file)
	if err != nil {
		return lock.Container{}, fault.Mark(fault.Input, fmt.Errorf("archive: %w", err))
	}
	pinned, err := v.readArchive(ctx, file)
	if err != nil {
		return pinned, fmt.Errorf("archive %s: %w", c.Image.Archive, err)
	}
	pinned.Name, pinned.Source = c.Name, "archive:"+v.movable(c.Image.Archive)
	if pinned.Reference == "" {
		pinned.Reference = localReference(c.Name)
	}
	return pinned, v.Store.SetMemo(seen, "image", pinned.Manifest.Digest)
}

// unchanged returns what the previous lock pinned if the archive is still the file that it was.
func (v *resolver) unchanged(c recipe.Container, file string) *lock.Container {
	if v.Previous == nil {
		return nil
	}
	old := v.Previous.Container(c.Name, c.Image)
	if old == nil || old.Manifest == nil {
		return nil
	}
	if digest, ok := v.Store.Memo(file, "image"); ok && "sha256:"+digest == old.Manifest.Digest {
		return old
	}
	return nil
}

// archiveAgain reads an archive once more for blobs that the store lost.
func (v *resolver) archiveAgain(ctx context.Context, c lock.Container, at, digest string) error {
	v.archives.Lock() // one reading brings all blobs
	defer v.archives.Unlock()
	if v.Store.Has(digest, -1) {
		return nil
	}
	again, err := v.readArchive(ctx, v.local(at))
	if err != nil {
		return err
	}
	if *again.Manifest != *c.Manifest {
		err := fmt.Errorf("archive %s: %w: its manifest is %s, not %s", at, ErrChanged, again.Manifest.Digest, c.Manifest.Digest)
		return fault.Hint(fault.Mark(fault.Untrusted, err), "agibake lock RECIPE pins it anew")
	}
	return nil
}

// contents is what a first reading of an archive finds.
type contents struct {
	index  []byte            // of an OCI layout
	saved  []saved           // of docker save
	links  map[string]string // older docker save writes a layer that repeats as a link
	layout bool
}

func (v *resolver) readArchive(ctx context.Context, file string) (lock.Container, error) {
	have, err := scanArchive(ctx, file)
	switch {
	case err != nil:
		return lock.Container{}, err
	case have.layout && have.index != nil:
		return v.readLayoutArchive(ctx, file, have)
	case len(have.saved) == 1:
		return v.readSaved(ctx, file, have)
	case len(have.saved) > 1:
		return lock.Container{}, inputf("it holds %d images; save one alone", len(have.saved))
	}
	return lock.Container{}, inputf("neither a docker save archive nor an OCI layout")
}

func scanArchive(ctx context.Context, file string) (*contents, error) {
	have := &contents{links: map[string]string{}}
	err := eachMember(ctx, file, func(h *tar.Header, member string, r io.Reader) error {
		switch {
		case h.Typeflag == tar.TypeSymlink:
			have.links[member] = path.Join(path.Dir(member), h.Linkname)
		case h.Typeflag == tar.TypeLink:
			have.links[member] = path.Clean(h.Linkname)
		case member == "oci-layout":
			have.layout = true
		case member == "index.json" || member == "manifest.json":
			raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
			if err != nil {
				return err
			}
			if len(raw) > maxDocument {
				return inputf("%s: larger than 4 MiB", member)
			}
			if member == "index.json" {
				have.index = raw
			} else if err := json.Unmarshal(raw, &have.saved); err != nil {
				return inputf("manifest.json: %w", err)
			}
		}
		return nil
	})
	return have, err
}

// readLayoutArchive stores the blobs of a layout in a tar file and chooses among its images.
func (v *resolver) readLayoutArchive(ctx context.Context, file string, have *contents) (lock.Container, error) {
	err := eachMember(ctx, file, func(h *tar.Header, member string, r io.Reader) error {
		digest, ok := strings.CutPrefix(member, "blobs/sha256/")
		if !ok || h.Typeflag != tar.TypeReg || v.Store.Has(digest, h.Size) {
			return nil
		}
		_, _, err := v.Store.Put(ctx, r, digest, h.Size, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
		return nil
	})
	if err != nil {
		return lock.Container{}, err
	}
	d, err := choose(ctx, have.index, "", v.stored)
	if err != nil {
		return lock.Container{}, err
	}
	pinned, err := pinManifest(ctx, d, v.stored)
	if err != nil {
		return pinned, err
	}
	for _, l := range pinned.Layers {
		if !v.Store.Has(l.Digest, l.Size) {
			return pinned, inputf("layer %s is missing", l.Digest)
		}
	}
	if ref := annotated(d, ""); ref != localReference("") {
		pinned.Reference = ref
	} else if len(have.saved) == 1 {
		pinned.Reference = have.saved[0].reference()
	}
	return pinned, nil
}
