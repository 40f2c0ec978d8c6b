package resolve

import (
	"bytes"
	"context"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
)

// filepathKey is the CNCF ModelPack annotation of a layer's file name.
const filepathKey = "org.cncf.model.filepath"

// pinArtifact finds the blob of an artifact that is the wanted file: the one with its digest, else with its name, else the only one.
func pinArtifact(ctx context.Context, f *lock.File, d v1.Descriptor, get documents) error {
	raw, err := get(ctx, d)
	if err != nil {
		return err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return inputf("manifest: %w", err)
	}
	var named, all []v1.Descriptor
	for _, l := range m.Layers {
		if l.Digest.Algorithm != "sha256" || l.Size < 0 || strings.Contains(string(l.MediaType), "tar") || strings.Contains(string(l.MediaType), "zip") {
			continue // not the bytes of the file itself
		}
		all = append(all, l)
		for _, key := range []string{title, filepathKey} {
			if n := l.Annotations[key]; n != "" && path.Base(n) == path.Base(f.Path) {
				named = append(named, l)
				break
			}
		}
	}
	if len(named) == 0 {
		named = all
	}
	if len(named) != 1 {
		return inputf("artifact %s: %d blobs could be %s; their title annotation must tell", d.Digest, len(named), f.Path)
	}
	if f.SHA256 != "" && f.SHA256 != named[0].Digest.Hex {
		return fault.Mark(fault.Untrusted, &cas.DigestError{Want: f.SHA256, Got: named[0].Digest.Hex})
	}
	f.SHA256, f.Size = named[0].Digest.Hex, named[0].Size
	return nil
}
