package parts

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/erasure"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

// Joined says what Join restored.
type Joined struct {
	Digest digest.Digest `json:"digest"`
	Tags   []string      `json:"tags"`
	Sealed bool          `json:"sealed"` // by what split it
	Blobs  int           `json:"blobs"`
	Bytes  int64         `json:"bytes"` // of blobs, each held against its digest
	root   v1.Descriptor
}

// Join restores the snapshot into a layout, which lists it only when everything was held against its digest: the stream
// against that in the parts, and each blob, read back.
func (p *Parts) Join(ctx context.Context, to *artifact.Layout, open state.Opener, show progress.Func) (*Joined, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	list, free := p.sources(ctx, func(int) {})
	defer free()
	r, w := io.Pipe()
	joined := make(chan error, 1)
	go func() {
		_, err := erasure.Join(ctx, list, w)
		w.CloseWithError(err)
		joined <- err
	}()
	got, err := receive(ctx, &shown{r: r, total: p.Report.Length, show: show}, to, open)
	r.CloseWithError(errors.New("joining stopped"))
	if lost := <-joined; err == nil {
		err = lost
	}
	if err != nil {
		return nil, err
	}
	return got.list(ctx, func(done, total int64) { show.Count("verify", "blobs", done, total) })
}

// shown tells how much of the stream came.
type shown struct {
	r           io.Reader
	done, total int64
	show        progress.Func
}

func (s *shown) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.done += int64(n)
	s.show.Count("join", "snapshot", s.done, s.total)
	return n, err
}
