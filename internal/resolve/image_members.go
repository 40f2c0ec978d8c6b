package resolve

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
)

// maxMembers is more than any image archive has.
const maxMembers = 100_000

// eachMember calls each for the members of a tar file, which may be compressed. Names come clean.
func eachMember(ctx context.Context, file string, each func(h *tar.Header, member string, r io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	defer f.Close()
	r, how, err := layer.Uncompress(ctx, f)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	defer r.Close()
	t := tar.NewReader(r)
	if how == layer.None { // seek over what is not wanted
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		t = tar.NewReader(f)
	}
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && n >= maxMembers {
			err = errors.New("too many members")
		}
		if err != nil {
			return inputf("tar: %w", err)
		}
		if err := each(h, path.Clean(h.Name), t); err != nil {
			return err
		}
	}
}
