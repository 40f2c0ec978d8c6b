package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

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
