package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// frozenPatience is how long to wait for a lock whose holder most likely stands still.
const frozenPatience = 20 * time.Millisecond

// take copies everything while nothing moves.
func (p *plan) take(ctx context.Context, s *Staged, last bool) error {
	for _, dir := range p.chroma {
		if err := p.takeChroma(ctx, s, dir, last); err != nil {
			return err
		}
	}
	for _, rel := range p.sqlite {
		if err := p.takeDatabase(ctx, s, rel, SQLite, last); err != nil {
			return err
		}
	}
	for kind, list := range map[Kind][]string{Plain: p.plain, JSONL: p.jsonl} {
		for _, rel := range list {
			if kind == JSONL && p.early[rel] != "" && p.early[rel] == p.version(rel, time.Now()) {
				s.Files = append(s.Files, File{Rel: rel, Kind: JSONL})
				continue
			}
			delete(p.early, rel) // a second attempt finds another copy there
			if err := p.takeFile(ctx, s, rel, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plan) takeFile(ctx context.Context, s *Staged, rel string, kind Kind) error {
	err := fs.ErrNotExist
	if p.copyable(rel) {
		err = copyFile(ctx, p.src(rel), p.dst(rel))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Gone = append(s.Gone, rel)
		os.Remove(p.dst(rel)) // from an earlier attempt
		return nil
	case err != nil:
		return fmt.Errorf("copy %s: %w", rel, err)
	}
	s.Files = append(s.Files, File{Rel: rel, Kind: kind})
	return nil
}

// takeDatabase copies an SQLite database. If a writer that stands still has the lock, the files are copied as they are, and
// SQLite puts them right as after a crash. Anyone else's lock is a bad moment, and at last passed over.
func (p *plan) takeDatabase(ctx context.Context, s *Staged, rel string, kind Kind, last bool) error {
	_, err := backup(ctx, p.src(rel), p.dst(rel), frozenPatience) // rough or not, it is checked later
	switch {
	case errors.Is(err, ErrBusy) && p.frozen.holds(p.src(rel)):
		err = copyRough(ctx, p.src(rel), p.dst(rel))
	case errors.Is(err, ErrBusy) && last:
		if err = copyRough(ctx, p.src(rel), p.dst(rel)); err == nil {
			s.Warnings = append(s.Warnings, rel+": it was locked each time, by nobody that was stopped; copied as after a crash")
		}
	case errors.Is(err, ErrBusy):
		err = fmt.Errorf("%w: %w", errNotNow, err)
	case errors.Is(err, fs.ErrNotExist) && !p.copyable(rel):
		s.Gone = append(s.Gone, rel)
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", rel, err)
	}
	s.Files = append(s.Files, File{Rel: rel, Kind: kind})
	return nil
}

func (p *plan) takeChroma(ctx context.Context, s *Staged, dir string, last bool) error {
	if why := unsettled(p.src(dir)); why != "" {
		if !last {
			return fmt.Errorf("copy %s: %w: %s", dir, errNotNow, why)
		}
		s.Warnings = append(s.Warnings, dir+": an index was not written to its end, as after a crash of the server: "+why)
	}
	files, absorbed, err := p.chromaFiles(dir)
	if err != nil {
		return fmt.Errorf("copy %s: %w", dir, err)
	}
	s.Absorbed = append(s.Absorbed, absorbed...)
	// What an earlier attempt copied may be gone by now: a segment that was deleted.
	if err := os.RemoveAll(filepath.Join(p.staging, dir)); err != nil && dir != "." {
		return err
	}
	if err := p.takeDatabase(ctx, s, path.Join(dir, chromaFile), Chroma, last); err != nil {
		return err
	}
	for _, rel := range files {
		if err := p.takeFile(ctx, s, rel, Chroma); err != nil {
			return err
		}
	}
	return nil
}
