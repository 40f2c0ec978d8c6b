package state

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tool"
)

// archive is the uncompressed content of a file.
type archive struct {
	io.Reader
	ctx    context.Context
	file   *os.File
	closer io.Closer
	stop   context.CancelFunc
}

const (
	xzMagic  = "\xfd7zXZ\x00"
	xzMemory = "512MiB" // of its window: a stranger's file may ask for any
	maxTail  = 64 << 20 // bytes behind the end of a tar: a block of padding, whatever tar -b says
)

// openArchive opens a tar that is plain or compressed with gzip, zstd or xz: its first bytes tell.
func openArchive(ctx context.Context, file string, p progress.Func) (*archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.Mark(fault.Input, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fault.Mark(fault.Input, errors.New("it is no file"))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	a := &archive{file: f}
	a.ctx, a.stop = context.WithCancel(ctx)
	in := &metered{ctx: ctx, r: f, item: file, total: info.Size(), p: p}
	magic := make([]byte, len(xzMagic))
	f.ReadAt(magic, 0) // a short file is no xz
	if string(magic) == xzMagic {
		err = a.xz(in)
	} else {
		var z io.ReadCloser
		z, _, err = layer.Uncompress(a.ctx, in)
		a.Reader, a.closer = z, z
	}
	if err != nil {
		a.stop()
		if fault.KindOf(err) == fault.Failed {
			err = fault.Mark(fault.Input, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// xz lets xz decompress: in Go it would take five times as long.
func (a *archive) xz(in io.Reader) error {
	if err := tool.Fit(a.ctx, "xz"); err != nil {
		return err
	}
	r, w := io.Pipe()
	c, err := tool.Start(a.ctx, tool.Cmd{Name: "xz", Args: []string{"-dc", "-T1", "--memlimit-decompress=" + xzMemory}, Stdin: in, Stdout: w})
	if err != nil {
		return err
	}
	go func() { w.CloseWithError(c.Wait()) }()
	a.Reader, a.closer = r, r
	return nil
}

// Close ends the decompressor as well.
func (a *archive) Close() error {
	a.stop()
	return errors.Join(a.closer.Close(), a.file.Close())
}

// drain reads what is behind the tar's end, where the checksums of gzip and xz stand.
func (a *archive) drain() error {
	n, err := io.Copy(io.Discard, io.LimitReader(a, maxTail+1))
	if err != nil {
		return a.unreadable(err, false)
	}
	if n > maxTail {
		return hostile("more than %d bytes follow the end of the archive", maxTail)
	}
	return nil
}

// unreadable explains an error of reading the archive, at its first entry or later.
func (a *archive) unreadable(err error, first bool) error {
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	if first && (errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return fault.Mark(fault.Input, errors.New("it is no tar archive, plain or compressed with gzip, zstd or xz"))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Hint(fault.Mark(fault.Input, errors.New("the archive is cut off")), "copy it again")
	}
	return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("the archive is damaged: %w", err)), "copy it again")
}

// metered tells how much of a file was read.
type metered struct {
	ctx         context.Context
	r           io.Reader
	item        string
	done, total int64
	p           progress.Func
}

func (m *metered) Read(b []byte) (int, error) {
	if err := context.Cause(m.ctx); err != nil {
		return 0, err
	}
	n, err := m.r.Read(b)
	m.done += int64(n)
	m.p.Count("unpack", m.item, m.done, m.total)
	return n, err
}

// readListed reads a list of sums that was unpacked.
func (u *unpacker) readListed(name string, size int) ([]listed, error) {
	if u.seen[name].size > maxTree {
		return nil, errors.New("it is too long")
	}
	data, err := u.root.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return readList(bytes.NewReader(data), size)
}
