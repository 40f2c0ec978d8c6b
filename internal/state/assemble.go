package state

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// assemble stores the documents of a snapshot over blobs that are there, and names it.
func (c *capture) assemble(ctx context.Context, t *Tree, blobs []Blob, info *Info) (v1.Descriptor, error) {
	tree := t.Encode()
	if len(tree) > maxTree {
		return v1.Descriptor{}, fault.Mark(fault.Input, fmt.Errorf("a tree of %d entries takes %d bytes, at most %d can be read back", len(t.Entries), len(tree), maxTree))
	}
	info.Tree, info.Created = sumOf(tree).String(), info.Created.UTC() // a zone would make another digest
	info.Files, info.Bytes, info.Records = t.count()
	if c.o.Parent != nil {
		info.Parent = c.o.Parent.Index.Digest
	}
	config, err := json.Marshal(info)
	if err != nil {
		return v1.Descriptor{}, err
	}
	s := c.o.Seal
	own := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: TypeState}
	if own.Config, err = s.put(ctx, c.to, TypeInfo, "", config); err != nil {
		return v1.Descriptor{}, err
	}
	if own.Layers, err = c.documents(ctx, tree, (&Contents{blobs}).Encode()); err != nil {
		return v1.Descriptor{}, err
	}
	number := 0
	for _, b := range blobs {
		if s == nil && !b.Packed { // listed by the model's manifest
			continue
		}
		number++
		d := v1.Descriptor{MediaType: TypePack, Digest: b.Digest, Size: b.Size, Annotations: map[string]string{v1.AnnotationTitle: fmt.Sprintf("%05d.tar.zst", number)}}
		if !b.Packed {
			d.MediaType, d.Annotations[v1.AnnotationTitle] = TypePiece, fmt.Sprintf("%05d", number)
		}
		if s != nil { // whether it is a pack is nobody's business
			d.MediaType, d.Annotations[v1.AnnotationTitle] = TypePiece+sealed, fmt.Sprintf("%05d.age", number)
		}
		own.Layers = append(own.Layers, d)
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, ArtifactType: TypeState, Annotations: map[string]string{}}
	d, err := c.manifest(ctx, own, TypeState)
	if err != nil {
		return d, err
	}
	index.Manifests = []v1.Descriptor{d}
	if s == nil {
		index.Annotations[AnnotationTree] = info.Tree
		models, err := c.models(ctx, t)
		if err != nil {
			return d, err
		}
		index.Manifests = append(index.Manifests, models...)
	} else {
		index.Annotations[AnnotationSealed] = "true"
	}
	index.Annotations[v1.AnnotationCreated] = info.Created.UTC().Format("2006-01-02T15:04:05Z")
	if info.Parent != "" {
		index.Annotations[AnnotationParent] = info.Parent.String()
	}
	raw, root, err := artifact.Encode(v1.MediaTypeImageIndex, index)
	if err != nil {
		return root, err
	}
	for _, tag := range append([]string{""}, c.o.Tags...) {
		if tag == "" && len(c.o.Tags) > 0 {
			continue
		}
		if err := c.to.PutManifest(ctx, root, raw, tag); err != nil {
			return root, err
		}
	}
	return root, nil
}

// documents stores tree, contents and, if the snapshot is sealed, what opens it.
func (c *capture) documents(ctx context.Context, tree, contents []byte) (list []v1.Descriptor, err error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	add := func(s *Seal, mediaType, title string, data []byte) {
		if err == nil {
			var d v1.Descriptor
			d, err = s.put(ctx, c.to, mediaType, title, data)
			list = append(list, d)
		}
	}
	if s := c.o.Seal; s != nil {
		for _, w := range s.Wraps {
			add(nil, TypeKey+"+"+w.Kind, "key."+w.Kind, w.Data)
		}
	}
	add(c.o.Seal, TypeTree, "tree.zst", z.EncodeAll(tree, nil))
	add(c.o.Seal, TypeContents, "contents.zst", z.EncodeAll(contents, nil))
	return list, err
}

func (c *capture) manifest(ctx context.Context, m v1.Manifest, kind string) (v1.Descriptor, error) {
	raw, d, err := artifact.Encode(v1.MediaTypeImageManifest, m)
	if err != nil {
		return d, err
	}
	if len(raw) > artifact.MaxManifest {
		return d, fmt.Errorf("a manifest of %d bytes for %d blobs is more than registries take", len(raw), len(m.Layers))
	}
	d.ArtifactType = kind
	if l, ok := c.to.(*artifact.Layout); ok { // found through the index: a listed manifest would be a root of its own
		return d, l.AddBlob(ctx, d, raw)
	}
	return d, c.to.PutManifest(ctx, d, raw, "")
}

// models stores a ModelPack manifest for each model: a file below models/, or a folder there with all its files
// (CNCF model-spec, docs/spec.md and docs/config.md).
func (c *capture) models(ctx context.Context, t *Tree) (list []v1.Descriptor, err error) {
	groups := map[string][]Entry{}
	var names []string
	for _, e := range t.Entries {
		if e.Kind != File || !isModel(e.Path) || e.Size == 0 {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Path, modelsDir+"/"), "/")
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], e)
	}
	for _, name := range names {
		d, err := c.model(ctx, name, groups[name])
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", name, err)
		}
		list = append(list, d)
	}
	return list, nil
}

func (c *capture) model(ctx context.Context, name string, files []Entry) (v1.Descriptor, error) {
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: TypeModel}
	var diffs []digest.Digest
	for _, f := range files {
		inside := strings.TrimPrefix(f.Path, modelsDir+"/")
		if len(files) > 1 || strings.Contains(inside, "/") {
			inside = strings.TrimPrefix(inside, name+"/")
		}
		var offset int64
		for i, p := range f.Pieces {
			d := v1.Descriptor{MediaType: weightType(f.Path), Digest: digest.NewDigestFromBytes(digest.SHA256, p.Sum[:]), Size: p.Size,
				Annotations: map[string]string{annotationFile: inside, v1.AnnotationTitle: inside}}
			if len(f.Pieces) > 1 {
				d.Annotations[v1.AnnotationTitle] = fmt.Sprintf("%s.%05d", inside, i+1)
				d.Annotations[annotationOffset] = fmt.Sprint(offset)
			}
			offset += p.Size
			diffs = append(diffs, d.Digest)
			m.Layers = append(m.Layers, d)
		}
	}
	config := map[string]any{
		"descriptor": map[string]any{"name": name},
		"config":     map[string]any{"format": strings.TrimPrefix(path.Ext(files[0].Path), ".")},
		"modelfs":    map[string]any{"type": "layers", "diffIds": diffs},
	}
	data, err := json.Marshal(config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if m.Config, err = addBlob(ctx, c.to, sumOf(data), data); err != nil {
		return v1.Descriptor{}, err
	}
	m.Config.MediaType = TypeModelConfig
	d, err := c.manifest(ctx, m, TypeModel)
	d.Annotations = map[string]string{v1.AnnotationTitle: name}
	return d, err
}

// weightType is how the model-spec calls a file by its name.
func weightType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	switch {
	case slices.Contains([]string{".json", ".yaml", ".yml", ".txt", ".jinja", ".model"}, ext):
		return TypeWeightConfig
	case ext == ".md" || strings.HasPrefix(strings.ToUpper(path.Base(name)), "LICENSE"):
		return TypeModelDoc
	}
	return TypeWeight
}

// count sums up what the tree holds.
func (t *Tree) count() (files int, bytes, records int64) {
	for _, e := range t.Entries {
		if e.Kind == File {
			files, bytes, records = files+1, bytes+e.Size, records+max(e.Records, 0)
		}
	}
	return files, bytes, records
}
