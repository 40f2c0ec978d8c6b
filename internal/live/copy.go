package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// copyFile copies a file or a symbolic link with mode and times, and with the owner where this user may. Within one file
// system that can share blocks nothing is copied (copy_file_range(2)).
func copyFile(ctx context.Context, src, dst string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return err
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return os.Symlink(target, dst)
	}
	in, err := os.OpenFile(src, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, 64<<20)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return imitate(info, dst)
}

// imitate gives dst the mode, times and, for root, the owner of a file.
func imitate(info fs.FileInfo, dst string) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := os.Chmod(dst, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(dst, info.ModTime(), info.ModTime())
}

// CopyJSONL copies a file up to the end of its last whole line, with mode and times. It returns how many lines the copy
// has and how many bytes were left out: a line that its writer had not ended, or never will. A last line without a line
// feed is whole if it is a JSON object or array.
func CopyJSONL(ctx context.Context, src, dst string) (lines, torn int64, err error) {
	if err := copyFile(ctx, src, dst); err != nil {
		return 0, 0, fmt.Errorf("copy %s: %w", src, err)
	}
	lines, torn, err = cutLines(ctx, dst)
	return lines, torn, err
}

const maxTail = 64 << 20 // bytes of a last line that is looked at

// cutLines cuts a file behind its last whole line.
func cutLines(ctx context.Context, path string) (lines, torn int64, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var size, end int64 // end is where the last whole line ends
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		lines += int64(bytes.Count(buf[:n], []byte("\n")))
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			end = size + int64(i) + 1
		}
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", path, err)
		}
	}
	torn = size - end
	if torn == 0 {
		return lines, 0, nil
	}
	if torn <= maxTail {
		tail := make([]byte, torn)
		if _, err := f.ReadAt(tail, end); err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", path, err)
		}
		if t := bytes.TrimSpace(tail); len(t) > 0 && (t[0] == '{' || t[0] == '[') && json.Valid(t) {
			return lines + 1, 0, nil
		}
	}
	return lines, torn, truncate(path, end)
}

// truncate cuts a file and leaves its mode and times as they are.
func truncate(path string, size int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil { // it may be read-only
		return err
	}
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	return imitate(info, path)
}
