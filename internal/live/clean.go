package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/agibake/agibake/internal/atomicfile"
)

// clean checks and mends the copies, with everything in motion again.
func (p *plan) clean(ctx context.Context, s *Staged, last bool) error {
	for i := range s.Files {
		f := &s.Files[i]
		f.Path = p.dst(f.Rel)
		var err error
		switch {
		case f.Kind == JSONL:
			if info, e := os.Lstat(f.Path); e == nil && info.Mode().IsRegular() {
				f.Records, f.Torn, err = cutLines(ctx, f.Path)
			}
		case f.Kind == SQLite, f.Kind == Chroma && path.Base(f.Rel) == chromaFile:
			err = Recover(ctx, f.Path)
		}
		if err == nil {
			err = f.look()
		}
		if err != nil {
			return fmt.Errorf("clean %s: %w", f.Rel, err)
		}
	}
	for _, dir := range p.chroma {
		if err := p.export(ctx, s, dir, last); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) look() error {
	info, err := os.Lstat(f.Path)
	if err != nil {
		return err
	}
	f.Size, f.Mode = info.Size(), info.Mode()
	return nil
}

// export writes a Chroma database's logical export. An index that cannot be read is a bad moment; if it stays so, the
// database was damaged before, and is captured as it is.
func (p *plan) export(ctx context.Context, s *Staged, dir string, last bool) error {
	d := Database{Dir: dir}
	rel := exportOf(dir)
	out, err := atomicfile.Create(p.dst(rel))
	if err != nil {
		return err
	}
	defer out.Abort()
	buffered := bufio.NewWriter(out)
	d.Counts, err = ExportChroma(ctx, p.dst(dir), buffered)
	switch {
	case err == nil:
		err = errors.Join(buffered.Flush(), out.Commit())
	case errors.Is(err, ErrDamaged) && !last:
		err = fmt.Errorf("%w: %w", errNotNow, err)
	case errors.Is(err, ErrDamaged):
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s: no export: %v", dir, err))
		s.Chroma = append(s.Chroma, d)
		return nil
	}
	if err != nil {
		return err
	}
	if d.NoVector > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s: %d records have no vector in Chroma's index", dir, d.NoVector))
	}
	d.Export = rel
	s.Chroma = append(s.Chroma, d)
	f := File{Rel: rel, Path: p.dst(rel), Kind: JSONL, Made: true, Records: d.Records}
	if err := f.look(); err != nil {
		return err
	}
	s.Files = append(s.Files, f)
	return nil
}
