package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// body reads the blob from where the upload stands, and hashes what was not hashed yet.
func (u *upload) body(ctx context.Context) (io.ReadCloser, error) {
	from := min(u.at, u.hashed)
	in, err := u.open(from)
	if err != nil {
		u.local = err
		return nil, err
	}
	b := &body{u: u, in: in, pos: from}
	for buf := make([]byte, 1<<20); b.pos < u.at; { // what an earlier process sent
		if err := ctx.Err(); err != nil {
			in.Close()
			return nil, err
		}
		if _, err := b.read(buf[:min(int64(len(buf)), u.at-b.pos)]); err != nil {
			in.Close()
			return nil, err
		}
	}
	return b, nil
}

type body struct {
	u   *upload
	in  io.ReadCloser
	pos int64
}

func (b *body) Close() error { return b.in.Close() }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.pos == b.u.d.Size {
		return 0, io.EOF
	}
	n, err := b.read(p[:min(int64(len(p)), b.u.d.Size-b.pos)])
	b.u.sent(int64(n))
	b.u.held(b.pos)
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil
	}
	if skip := b.u.hashed - b.pos; skip < int64(n) {
		b.u.sum.Write(p[skip:n])
		b.u.hashed = b.pos + int64(n)
	}
	b.pos += int64(n)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("blob %s: it ends after %d bytes of %d: %w", b.u.d.Digest, b.pos, b.u.d.Size, artifact.ErrDigest)
	}
	if err != nil {
		b.u.local = err
	}
	return n, err
}

// check compares what was read with what the blob should be.
func (u *upload) check() error {
	if got := fmt.Sprintf("%x", u.sum.Sum(nil)); got != u.d.Digest.Encoded() {
		u.local = fault.Hint(fmt.Errorf("blob %s: what is here is %s: %w", u.d.Digest, got, artifact.ErrDigest), "was it changed while it was read?")
	}
	return u.local
}
