package rootfs

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// maxControl bounds the control archive of one package: far more than the largest symbols file.
const maxControl = 64 << 20

// deb is an open package whose bytes are those of the lock.
type deb struct {
	Deb
	file    *os.File
	control control
	scripts []controlFile // the control archive without "control", in its order
	data    member

	// Filled while unpacking.
	list      []string          // the paths it ships, as in info/NAME.list
	conffiles map[string]string // path → MD5 of the shipped content
	md5       []string          // lines of info/NAME.md5sums, made only when the package brings none
}

// controlFile is one file of the control archive.
type controlFile struct {
	name  string
	data  []byte
	mode  uint32
	mtime int64
}

// openDebs opens, verifies and reads the control data of all packages, base-files first and the others by name: that
// rank decides between packages wherever something must.
func openDebs(ctx context.Context, list []Deb, jobs int) ([]*deb, error) {
	debs := make([]*deb, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, d := range list {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			debs[i], err = openDeb(ctx, d)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return debs, err
	}
	slices.SortFunc(debs, func(a, b *deb) int {
		if first := (b.Name == "base-files"); first != (a.Name == "base-files") {
			if first {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name+":"+a.Architecture, b.Name+":"+b.Architecture)
	})
	return debs, nil
}

func closeDebs(debs []*deb) {
	for _, d := range debs {
		if d != nil {
			d.file.Close()
		}
	}
}

func openDeb(ctx context.Context, d Deb) (*deb, error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", d.Name, err)
	}
	b := &deb{Deb: d, file: f, conffiles: map[string]string{}}
	if err := b.read(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return b, nil
}

// read checks size and digest first: nothing of a wrong file is parsed.
func (b *deb) read(ctx context.Context) error {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(b.file, b.Size+1))
	if err != nil {
		return fmt.Errorf("package %s: %w", b.Name, err)
	}
	if n != b.Size {
		return untrusted(b.Deb, "the file does not have the locked size of %d bytes", b.Size)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != strings.TrimPrefix(b.SHA256, "sha256:") {
		return untrusted(b.Deb, "sha256 is %s, the lock says %s", sum, b.SHA256)
	}
	if err := b.members(ctx); fault.KindOf(err) == fault.Missing {
		return err
	} else if err != nil {
		return inputError("package %s (%s): %w", b.Name, b.Path, err)
	}
	return nil
}

func (b *deb) members(ctx context.Context) error {
	list, err := arMembers(b.file, b.Size)
	if err != nil {
		return err
	}
	for _, m := range list {
		switch {
		case strings.HasPrefix(m.name, "control.tar"):
			if err := b.readControl(ctx, m); err != nil {
				return err
			}
		case strings.HasPrefix(m.name, "data.tar"):
			b.data = m
		}
	}
	if b.data.SectionReader == nil || b.control.text == "" {
		return fmt.Errorf("lacks control.tar or data.tar (deb(5))")
	}
	for field, want := range map[string]string{"Package": b.Name, "Version": b.Version, "Architecture": b.Architecture} {
		if got := b.control.get(field); got != want {
			return fmt.Errorf("its %s is %q, the lock says %q", field, got, want)
		}
	}
	return nil
}

func (b *deb) readControl(ctx context.Context, m member) error {
	r, err := decompress(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	limited := &io.LimitedReader{R: r, N: maxControl}
	for t := tar.NewReader(limited); ; {
		h, err := t.Next()
		if err == io.EOF && limited.N > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", m.name, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return fmt.Errorf("read %s: %w", m.name, err)
		}
		name := path.Clean(h.Name)
		switch {
		case name == "control":
			if b.control, err = parseControl(data); err != nil {
				return err
			}
		case strings.Contains(name, "/") || name == "list" || name == "..":
			return fmt.Errorf("%s holds a file %q", m.name, h.Name)
		default:
			b.scripts = append(b.scripts, controlFile{name, data, uint32(h.Mode) & 0o777, h.ModTime.Unix()})
		}
	}
}

// script returns a file of the control archive, or nil.
func (b *deb) script(name string) *controlFile {
	for i := range b.scripts {
		if b.scripts[i].name == name {
			return &b.scripts[i]
		}
	}
	return nil
}

// decompress opens a member by the suffix of its name (deb(5)).
func decompress(ctx context.Context, m member) (io.ReadCloser, error) {
	in := io.NewSectionReader(m.SectionReader, 0, m.Size())
	switch path.Ext(m.name) {
	case ".tar":
		return io.NopCloser(in), nil
	case ".gz":
		return gzip.NewReader(in)
	case ".zst":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case ".xz":
		return xzReader(ctx, in)
	}
	return nil, fmt.Errorf("unknown compression of %s", m.name)
}

// xzReader decompresses with the xz program, several times faster than any decoder in Go.
func xzReader(ctx context.Context, in io.Reader) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	p, err := tool.Start(ctx, tool.Cmd{Name: "xz", Args: []string{"-dc", "-T1"}, Stdin: in, Stdout: w})
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		w.CloseWithError(p.Wait())
		close(done)
	}()
	return &process{r, cancel, done}, nil
}

// process is the output of a program, which Close ends.
type process struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func (p *process) Close() error {
	p.PipeReader.Close()
	p.cancel()
	<-p.done
	return nil
}
