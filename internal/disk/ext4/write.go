package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tree"
)

// Write writes the file system to w, which must read as zeros where it is not written, such as a new sparse file. Runs
// of zeros of 64 KiB and more in file content are not written either. File content is read with several goroutines at
// once, each holding 1 MiB of it. Progress counts bytes of content in stage "disk".
func (v *Volume) Write(ctx context.Context, w io.WriterAt, p progress.Func) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.writeMeta(ctx, w) })
	jobs := make(chan []*node)
	group.Go(func() error {
		defer close(jobs)
		return v.sendJobs(ctx, jobs)
	})
	done := &counter{total: v.bytes, item: v.o.Item, p: p}
	for range max(2, runtime.GOMAXPROCS(0)) {
		group.Go(func() error { return v.copyFiles(ctx, w, jobs, done) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write file system %s: %w", v.o.Label, err)
	}
	if v.bytes == 0 {
		p.Step("disk", v.o.Item)
	}
	return nil
}

// counter sums the bytes written by all goroutines.
type counter struct {
	done  atomic.Int64
	total int64
	item  string
	p     progress.Func
}

func (c *counter) add(n int64) {
	if n > 0 {
		c.p.Count("disk", c.item, c.done.Add(n), c.total)
	}
}

// sendJobs cuts the files into batches of neighbours, so that each is written in few large pieces.
func (v *Volume) sendJobs(ctx context.Context, jobs chan<- []*node) error {
	const batchBytes = 4 << 20
	var batch []*node
	size := int64(0)
	send := func() error {
		select {
		case jobs <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
		batch, size = nil, 0
		return nil
	}
	for _, n := range v.nodes {
		if n.entry.Type != tree.File || n.size == 0 || n.apart {
			continue
		}
		batch = append(batch, n)
		if size += n.size; size >= batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return send()
}

func (v *Volume) copyFiles(ctx context.Context, w io.WriterAt, jobs <-chan []*node, done *counter) error {
	b := newBlockWriter(w)
	for batch := range jobs {
		for _, n := range batch {
			if err := copyFile(ctx, b, n, done); err != nil {
				return fmt.Errorf("%s: %w", n.entry.Path, err)
			}
		}
		if err := b.flush(); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies the content of n to its blocks.
func copyFile(ctx context.Context, b *blockWriter, n *node, done *counter) error {
	r, err := n.entry.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	left := n.size
	for _, run := range n.runs {
		for at, end := int64(run.start)*blockSize, int64(run.end())*blockSize; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			size := min(end-at, bufferSize)
			s, err := b.room(at, int(size))
			if err != nil {
				return err
			}
			part := min(left, size)
			clear(s[part:])
			if _, err := io.ReadFull(r, s[:part]); err != nil {
				return shortRead(err, n.size)
			}
			at, left = at+size, left-part
			done.add(part)
		}
	}
	if extra, err := io.ReadFull(r, make([]byte, 1)); extra > 0 {
		return fmt.Errorf("content is longer than its stated size of %d bytes", n.size)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return r.Close()
}

func shortRead(err error, size int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("content is shorter than its stated size of %d bytes", size)
	}
	return err
}
