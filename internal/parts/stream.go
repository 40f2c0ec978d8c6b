package parts

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/seal"
	"github.com/agibake/agibake/internal/state"
)

// stream writes a snapshot as an OCI layout in one tar, the same for the same snapshot and tags.
type stream struct {
	*contents
	from  Source
	index []byte
	order []v1.Descriptor
	total int64 // bytes of blobs
}

var layoutMark = []byte(`{"imageLayoutVersion":"1.0.0"}`)

func newStream(ctx context.Context, s Source, root v1.Descriptor, tags []string) (*stream, error) {
	c, err := gather(ctx, s, root)
	if err != nil {
		return nil, err
	}
	st := &stream{contents: c, from: s}
	x := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, tag := range slices.Sorted(slices.Values(tags)) {
		d := c.root
		d.Annotations = map[string]string{v1.AnnotationRefName: tag}
		x.Manifests = append(x.Manifests, d)
	}
	if len(tags) == 0 {
		x.Manifests = append(x.Manifests, c.root)
	}
	x.Manifests = append(x.Manifests, c.referrers...)
	if st.index, _, err = artifact.Encode(v1.MediaTypeImageIndex, x); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(c.blobs)) {
		if _, err := artifact.Hex(id); err != nil {
			return nil, err
		}
		st.order = append(st.order, c.blobs[id])
		st.total += c.blobs[id].Size
	}
	return st, nil
}

// size is the number of bytes that write writes.
func (st *stream) size() int64 {
	block := func(n int64) int64 { return 512 + (n+511)/512*512 }
	n := block(int64(len(st.index))) + block(int64(len(layoutMark))) + 1024
	for _, d := range st.order {
		n += block(d.Size)
	}
	return n
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Format: tar.FormatUSTAR}
}

// write writes the tar. What is damaged already is not spread: artifact.ErrDigest.
func (st *stream) write(ctx context.Context, w io.Writer) error {
	t, buf := tar.NewWriter(w), make([]byte, 1<<20)
	for _, d := range st.order {
		if err := st.blob(ctx, t, d, buf); err != nil {
			return err
		}
	}
	err := file(t, v1.ImageIndexFile, st.index)
	if err == nil {
		err = file(t, v1.ImageLayoutFile, layoutMark)
	}
	if err == nil {
		err = t.Close()
	}
	return err
}

func file(t *tar.Writer, name string, data []byte) error {
	err := t.WriteHeader(header(name, int64(len(data))))
	if err == nil {
		_, err = t.Write(data)
	}
	return err
}

func (st *stream) blob(ctx context.Context, t *tar.Writer, d v1.Descriptor, buf []byte) error {
	r, err := st.from.Blob(ctx, d, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	v, err := artifact.Verified(r, d)
	if err == nil {
		err = t.WriteHeader(header(blobFolder+d.Digest.Encoded(), d.Size))
	}
	for err == nil {
		var n int
		n, err = v.Read(buf)
		if n > 0 {
			if _, err := t.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// writeSealed writes a tar with the wraps of a secret, and the layout's tar sealed with it.
func (st *stream) writeSealed(ctx context.Context, w io.Writer, key *state.Seal) error {
	overhead, err := sealedSize(key.Secret, st.size())
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, wrap := range key.Wraps {
		if err := file(t, path.Base(keyPrefix+wrap.Kind), wrap.Data); err != nil {
			return err
		}
	}
	h := header(sealedFile, overhead)
	h.Format = tar.FormatUnknown // a USTAR entry has at most 8 GiB
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	e, err := key.Secret.Encrypt(t)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(e, 1<<20)
	if err := st.write(ctx, b); err != nil {
		return err
	}
	if err := errors.Join(b.Flush(), e.Close()); err != nil {
		return err
	}
	return t.Close()
}

// sealedSize is how long an age file of n bytes is: a header, then 16 bytes more for each piece of 64 KiB.
func sealedSize(s *seal.Secret, n int64) (int64, error) {
	var head bytes.Buffer
	e, err := s.Encrypt(&head)
	if err == nil {
		err = e.Close()
	}
	const piece, tag = 64 << 10, 16
	return int64(head.Len()) - tag + n + max(1, (n+piece-1)/piece)*tag, err
}
