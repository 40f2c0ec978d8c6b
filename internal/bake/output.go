package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

// output is the folder NAME-VERSION in the making: everything is written into a hidden sibling, which takes the
// final name in one rename.
type output struct {
	final string // DIR/NAME-VERSION
	dir   string // what will become final
	work  string // scratch space on the same file system
	temp  string // holds both
	lock  *os.File
}

// openOutput prepares a bake of name below parent, and removes what killed ones left. It fails while another bake
// writes the same name, and where something stands there that no bake made: that would be lost.
func openOutput(parent, name string) (*output, error) {
	parent, err := filepath.Abs(parent)
	if err == nil {
		err = os.MkdirAll(parent, 0o755)
	}
	if err != nil {
		return nil, outputError(err)
	}
	o := &output{final: filepath.Join(parent, name)}
	if err := o.replaceable(); err != nil {
		return nil, err
	}
	hidden := filepath.Join(parent, "."+name)
	if o.lock, err = lockFile(hidden + ".lock"); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fault.Hint(fmt.Errorf("%s: another bake writes it", o.final), "wait for it to end")
	}
	if err != nil {
		return nil, outputError(err)
	}
	left, err := filepath.Glob(strings.NewReplacer(`\`, `\\`, "[", `\[`, "*", `\*`, "?", `\?`).Replace(hidden) + ".partial-*")
	for _, dir := range left {
		os.RemoveAll(dir)
	}
	if err == nil {
		o.temp, err = os.MkdirTemp(parent, "."+name+".partial-")
	}
	if err == nil {
		o.dir, o.work = filepath.Join(o.temp, "result"), filepath.Join(o.temp, "work")
		err = errors.Join(os.Mkdir(o.dir, 0o755), os.Mkdir(o.work, 0o755))
	}
	if err != nil {
		o.close()
		return nil, outputError(err)
	}
	return o, nil
}

// replaceable refuses a final name that a bake may not take.
func (o *output) replaceable() error {
	if _, err := os.Stat(filepath.Join(o.final, ReportFile)); err == nil {
		return nil
	}
	entries, err := os.ReadDir(o.final)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	err = fmt.Errorf("%s exists and no bake made it: there is no %s in it", o.final, ReportFile)
	return fault.Hint(fault.Mark(fault.Input, err), "move it away, or name another folder with -o")
}

// lockFile takes the lock at path. Whoever is done removes the file, so the locked one must still be the one at path.
func lockFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		mine, err := f.Stat()
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
	}
}

func outputError(err error) error {
	hint := "name a folder that can be written with -o"
	if full(err) {
		hint = "make room there, or name another folder with -o"
	}
	return fault.Hint(fmt.Errorf("open the output folder: %w", err), hint)
}

func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// roomFor adds the way out to an error of a full disk that has none yet.
func (o *output) roomFor(err error) error {
	at := (*fs.PathError)(nil)
	switch {
	case !full(err) || fault.HintOf(err) != "":
		return err
	case errors.As(err, &at) && !strings.HasPrefix(at.Path, o.temp):
		return fault.Hint(err, "make room on the disk of "+filepath.Dir(at.Path))
	}
	return fault.Hint(err, "make room on the disk of "+filepath.Dir(o.final)+", or name another folder with -o")
}

// publish completes the folder and gives it its final name, in exchange for an earlier one.
func (o *output) publish(ctx context.Context, r *Report) error {
	var sums strings.Builder
	for _, out := range r.Outputs {
		fmt.Fprintf(&sums, "%s  %s\n", out.SHA256, out.File)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	err = errors.Join(atomicfile.WriteFile(filepath.Join(o.dir, "SHA256SUMS"), []byte(sums.String()), 0o644),
		atomicfile.WriteFile(filepath.Join(o.dir, ReportFile), append(data, '\n'), 0o644), ctx.Err())
	if err != nil {
		return fmt.Errorf("write %s: %w", o.final, err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, o.dir, unix.AT_FDCWD, o.final, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(o.dir, o.final)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.final, err)
	}
	return atomicfile.SyncDir(filepath.Dir(o.final))
}

// close removes everything that has no final name.
func (o *output) close() {
	os.RemoveAll(o.temp)
	os.Remove(o.lock.Name())
	o.lock.Close()
}
