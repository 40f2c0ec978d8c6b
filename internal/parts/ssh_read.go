package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/agibake/agibake/internal/tool"
)

func (h *host) open(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &hostReader{h: h, r: r, ctx: ctx}
	inner, stop := context.WithCancel(ctx)
	o.stop = stop
	o.p, err = h.start(inner, fmt.Sprintf("cd %s && exec tail -c +%d %s", quote(h.dir), offset+1, quote("./"+name)), nil, w)
	if err := errors.Join(err, w.Close()); err != nil {
		stop()
		return nil, errors.Join(err, r.Close())
	}
	return o, nil
}

type hostReader struct {
	h    *host
	r    *os.File
	p    *tool.Process
	ctx  context.Context
	stop context.CancelFunc
	over bool
}

// Read tells a lost connection from an end.
func (o *hostReader) Read(b []byte) (int, error) {
	n, err := o.r.Read(b)
	if n == 0 && errors.Is(err, io.EOF) && !o.over {
		o.over = true
		if failed := o.h.explain(o.ctx, o.p.Wait()); failed != nil {
			return 0, failed
		}
	}
	return n, err
}

// Close ends ssh.
func (o *hostReader) Close() error {
	o.stop()
	err := o.r.Close()
	if !o.over {
		o.over = true
		_ = o.p.Wait() // it was told to stop
	}
	return err
}
