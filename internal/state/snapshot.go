package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/seal"
)

// Snapshot is one that was read and whose documents hold together. The blobs are checked when they are read.
type Snapshot struct {
	Index    v1.Descriptor
	Info     Info
	Tree     *Tree
	Contents *Contents
	Seal     *Seal           // nil if everyone can read it
	Parts    []v1.Descriptor // manifests: its own, then those of models
}

// ErrNoSnapshot says that what a reference names is something else. Its kind is fault.Input.
var ErrNoSnapshot = fault.Mark(fault.Input, errors.New("it is no snapshot of a state"))

// Reader is what reading a snapshot needs of an artifact.Store.
type Reader interface {
	artifact.Reader
	Resolve(ctx context.Context, reference string) (v1.Descriptor, error)
}

// Opener turns the sealed forms of a secret into the secret. nil refuses what is sealed.
type Opener func(ctx context.Context, wraps []seal.Wrap) (*seal.Secret, error)

const (
	maxInfo      = 4 << 20
	maxDocument  = 128 << 20 // bytes, as stored
	maxManifests = 64 << 20  // bytes, together
)

// Open reads the snapshot that a reference names. Something else gives ErrNoSnapshot, a broken one an error of kind
// Untrusted.
func Open(ctx context.Context, s Reader, reference string, opener Opener) (*Snapshot, error) {
	d, err := s.Resolve(ctx, reference)
	if err != nil {
		return nil, err
	}
	return Read(ctx, s, d, opener)
}

// Read is Open for an index that is known by its descriptor.
func Read(ctx context.Context, s artifact.Reader, d v1.Descriptor, opener Opener) (*Snapshot, error) {
	x, err := Look(ctx, s, d)
	if err != nil {
		return nil, err
	}
	if err := x.read(ctx, s, opener); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", d.Digest, err)
	}
	return x, nil
}

// Look reads the index of a snapshot and nothing else: only Index and Parts are known then, and of Info what the index
// tells without a key.
func Look(ctx context.Context, s artifact.Reader, d v1.Descriptor) (*Snapshot, error) {
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	doc, err := artifact.Decode(raw, d)
	if err != nil {
		return nil, err
	}
	if doc.ArtifactType != TypeState || doc.MediaType != v1.MediaTypeImageIndex {
		return nil, fmt.Errorf("%s: %w", d.Digest, ErrNoSnapshot)
	}
	x := &Snapshot{Index: v1.Descriptor{MediaType: doc.MediaType, Digest: d.Digest, Size: d.Size}, Parts: doc.Manifests}
	if len(x.Parts) == 0 || x.Parts[0].ArtifactType != TypeState {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("snapshot %s: its index does not begin with its manifest", d.Digest))
	}
	if doc.Annotations[AnnotationSealed] == "true" {
		x.Seal = &Seal{}
	}
	x.Info.Tree = doc.Annotations[AnnotationTree]
	x.Info.Parent = digest.Digest(doc.Annotations[AnnotationParent])
	_ = x.Info.Created.UnmarshalText([]byte(doc.Annotations[v1.AnnotationCreated]))
	return x, nil
}

// own is the snapshot's own manifest, its parts by type.
type own struct {
	config v1.Descriptor
	layers map[string][]v1.Descriptor
}

func (x *Snapshot) read(ctx context.Context, s artifact.Reader, opener Opener) error {
	listed := map[digest.Digest]int64{} // blobs with their sizes
	var mine own
	var total int64
	for i, part := range x.Parts {
		if total += part.Size; part.MediaType != v1.MediaTypeImageManifest || part.Size < 0 || total > maxManifests {
			return fault.Mark(fault.Untrusted, fmt.Errorf("its part %s is no manifest, or more than %d bytes of them", part.Digest, maxManifests))
		}
		raw, err := s.Manifest(ctx, part)
		if err != nil {
			return err
		}
		doc, err := artifact.Decode(raw, part)
		if err != nil {
			return err
		}
		for _, l := range doc.Layers {
			listed[l.Digest] = l.Size
		}
		if i > 0 && doc.ArtifactType != TypeModel {
			return fault.Mark(fault.Untrusted, fmt.Errorf("its part %s is no model", part.Digest))
		}
		if i == 0 {
			if doc.Config == nil || doc.ArtifactType != TypeState {
				return fault.Mark(fault.Untrusted, errors.New("its manifest is not one of a state"))
			}
			mine = own{*doc.Config, map[string][]v1.Descriptor{}}
			for _, l := range doc.Layers {
				mine.layers[l.MediaType] = append(mine.layers[l.MediaType], l)
			}
		}
	}
	if err := x.unseal(ctx, s, mine, opener); err != nil {
		return err
	}
	if err := x.documents(ctx, s, mine); err != nil {
		return err
	}
	return x.agree(listed)
}

// unseal finds the secret of a sealed snapshot.
func (x *Snapshot) unseal(ctx context.Context, s artifact.Reader, mine own, opener Opener) error {
	is := strings.HasSuffix(mine.config.MediaType, sealed)
	if said := x.Seal != nil; said != is {
		return fault.Mark(fault.Untrusted, fmt.Errorf("its index says sealed: %v, and its manifest: %v", said, is))
	}
	if !is {
		return nil
	}
	x.Seal = &Seal{}
	for kind, list := range mine.layers {
		if !strings.HasPrefix(kind, TypeKey+"+") {
			continue
		}
		for _, d := range list {
			data, err := artifact.ReadBlob(ctx, s, d, seal.MaxWrap)
			if err != nil {
				return err
			}
			x.Seal.Wraps = append(x.Seal.Wraps, seal.Wrap{Kind: strings.TrimPrefix(kind, TypeKey+"+"), Data: data})
		}
	}
	if opener == nil {
		return fault.Hint(fault.Mark(fault.Usage, errors.New("it is sealed")), "name what opens it: --identity FILE, --passphrase or --gpg")
	}
	var err error
	x.Seal.Secret, err = opener(ctx, x.Seal.Wraps)
	return err
}

// documents reads info, tree and contents.
func (x *Snapshot) documents(ctx context.Context, s artifact.Reader, mine own) error {
	suffix := ""
	if x.Seal != nil {
		suffix = sealed
	}
	config, err := x.Seal.document(ctx, s, mine.config, maxInfo)
	if err != nil {
		return err
	}
	said := x.Info
	x.Info = Info{}
	if mine.config.MediaType != TypeInfo+suffix {
		err = fmt.Errorf("a config of type %q", mine.config.MediaType)
	} else {
		d := json.NewDecoder(bytes.NewReader(config))
		d.DisallowUnknownFields()
		if err = d.Decode(&x.Info); err == nil {
			if _, end := d.Token(); !errors.Is(end, io.EOF) {
				err = errors.New("it goes on")
			}
		}
	}
	if i := x.Info; err == nil && (!i.Created.Truncate(time.Second).Equal(said.Created) || i.Parent != said.Parent || x.Seal == nil && i.Tree != said.Tree) {
		err = errors.New("the index says something else")
	}
	if err != nil {
		return fault.Mark(fault.Untrusted, fmt.Errorf("read info: %w", err))
	}
	tree, err := x.Seal.compressed(ctx, s, mine.layers[TypeTree+suffix])
	if err == nil && sumOf(tree).String() != x.Info.Tree {
		err = fmt.Errorf("the tree is not %s: %w", x.Info.Tree, artifact.ErrDigest)
	}
	if err != nil {
		return err
	}
	if x.Tree, err = DecodeTree(tree); err != nil {
		return err
	}
	if files, bytes, records := x.Tree.count(); files != x.Info.Files || bytes != x.Info.Bytes || records != x.Info.Records {
		return fault.Mark(fault.Untrusted, fmt.Errorf("the tree has %d files of %d bytes, not %d of %d", files, bytes, x.Info.Files, x.Info.Bytes))
	}
	contents, err := x.Seal.compressed(ctx, s, mine.layers[TypeContents+suffix])
	if err != nil {
		return err
	}
	x.Contents, err = DecodeContents(contents)
	return err
}

// document reads a small blob, sealed or not.
func (s *Seal) document(ctx context.Context, from artifact.Reader, d v1.Descriptor, limit int64) ([]byte, error) {
	data, err := artifact.ReadBlob(ctx, from, d, limit)
	if err != nil || s == nil {
		return data, err
	}
	r, err := s.Secret.Decrypt(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, limit))
}

// compressed reads the one document of a list of layers.
func (s *Seal) compressed(ctx context.Context, from artifact.Reader, list []v1.Descriptor) ([]byte, error) {
	if len(list) != 1 {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("%d documents where one should be", len(list)))
	}
	data, err := s.document(ctx, from, list[0], maxDocument)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxTree))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	out, err := z.DecodeAll(data, nil)
	if err != nil {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("read %s: %w", list[0].Digest, err))
	}
	return out, nil
}

// agree holds tree, contents and manifests against each other: all pieces of the tree are in blobs that are listed.
func (x *Snapshot) agree(listed map[digest.Digest]int64) error {
	sizes := map[Sum]int64{}
	for _, b := range x.Contents.Blobs {
		if size, ok := listed[b.Digest]; !ok || size != b.Size {
			return fault.Mark(fault.Untrusted, fmt.Errorf("blob %s is not in its manifests", b.Digest))
		}
		if x.Seal == nil && !b.Packed && (b.Pieces[0].Sum.String() != b.Digest.Encoded() || b.Pieces[0].Size != b.Size) {
			return fault.Mark(fault.Untrusted, fmt.Errorf("blob %s is not the piece it should be", b.Digest))
		}
		for _, p := range b.Pieces {
			if size, ok := sizes[p.Sum]; ok && size != p.Size {
				return fault.Mark(fault.Untrusted, fmt.Errorf("piece %s is said to have %d bytes and %d", p.Sum, size, p.Size))
			}
			sizes[p.Sum] = p.Size
		}
	}
	for _, e := range x.Tree.Entries {
		for _, p := range e.Pieces {
			if sizes[p.Sum] != p.Size {
				return fault.Mark(fault.Untrusted, fmt.Errorf("%.200q: piece %s is in no blob", e.Path, p.Sum))
			}
		}
	}
	return nil
}

// stored returns the blobs of a snapshot that the store really has, for others to share.
func (x *Snapshot) stored(ctx context.Context, s artifact.Store) (list []Blob, err error) {
	if x == nil {
		return nil, nil
	}
	_, local := s.(*artifact.Layout)
	for _, b := range x.Contents.Blobs {
		have := true // a registry that has a manifest has its blobs
		if local {
			if have, err = s.Has(ctx, b.descriptor()); err != nil {
				return nil, err
			}
		}
		if have {
			list = append(list, b)
		}
	}
	return list, nil
}

// readBlob gives the pieces of a blob that want asks for, checked, to use; the bytes are valid until it returns.
func readBlob(ctx context.Context, s artifact.Reader, b *Blob, key *Seal, m *buffers, want func(Piece) bool, use func(Piece, []byte) error) error {
	in, err := s.Blob(ctx, b.descriptor(), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	whole, err := artifact.Verified(&cancelled{ctx, in}, b.descriptor())
	if err != nil {
		return err
	}
	r := whole
	if key != nil {
		if r, err = key.Secret.Decrypt(r); err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	if b.Packed {
		err = readPack(r, b, m, want, use)
	} else {
		err = readPiece(r, b, m, want, use)
	}
	if err == nil { // what stands behind the pieces must be right as well
		_, err = io.Copy(io.Discard, whole)
	}
	return err
}

func readPiece(r io.Reader, b *Blob, m *buffers, want func(Piece) bool, use func(Piece, []byte) error) error {
	p := b.Pieces[0]
	if !want(p) {
		return nil
	}
	data, free := m.get(p.Size)
	defer free()
	if _, err := io.ReadFull(r, data); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	if sumOf(data) != p.Sum {
		return fmt.Errorf("blob %s: %w", b.Digest, artifact.ErrDigest)
	}
	return use(p, data)
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
