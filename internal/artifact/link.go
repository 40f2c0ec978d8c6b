package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// link gives the file from a second name, or copies it where that cannot be: shared extents first, bytes else.
// The same layer twice in an image is one blob.
func link(ctx context.Context, from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return fmt.Errorf("link layer: %w", err)
	}
	err = os.Link(from, to)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EMLINK) &&
		!errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("link layer: %w", err)
	}
	return copyFile(ctx, from, to)
}

func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy layer: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("copy layer: %w", err)
	}
	defer out.Close()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		for err == nil { // in steps, to see ctx
			if err = ctx.Err(); err == nil {
				_, err = io.CopyN(out, in, 64<<20)
			}
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("copy layer: %w", err)
		}
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("copy layer: %w", err)
	}
	return nil
}
