package cas

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/agibake/agibake/internal/atomicfile"
)

var stageName = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9_-]{0,127}$`)

// Stage returns the folder with the finished result of a stage, if there is one, and marks it as used now.
// The key is the digest of everything that went into it: letters, digits, "-" and "_".
func (s *Store) Stage(name, key string) (string, bool) {
	dir := s.stage(name, key)
	if info, err := os.Lstat(dir); dir == "" || err != nil || !info.IsDir() {
		return "", false
	}
	touch(dir)
	return dir, true
}

func (s *Store) stage(name, key string) string {
	if !stageName.MatchString(name) || !stageName.MatchString(key) {
		return ""
	}
	if s.Stages != "" {
		return filepath.Join(s.Stages, name, key)
	}
	return filepath.Join(s.dir, "stages", name, key)
}

// PutStage returns the finished result of a stage and has it built where it is missing. build fills an empty folder;
// when it fails nothing remains. Of several processes that want the same stage one builds it and the others wait.
// Folders of killed runs are removed by the next one.
func (s *Store) PutStage(ctx context.Context, name, key string, build func(dir string) error) (string, error) {
	final := s.stage(name, key)
	if final == "" {
		return "", fmt.Errorf("stage %q: key %q: not a valid name", name, key)
	}
	if dir, ok := s.Stage(name, key); ok {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", fmt.Errorf("stage %s: %w", name, full(err))
	}
	lock, err := waitLock(ctx, final+".lock")
	if err != nil {
		return "", fmt.Errorf("stage %s: %w", name, err)
	}
	defer lock.Close()
	if dir, ok := s.Stage(name, key); ok {
		return dir, nil
	}
	s.removeHalf(final)
	s.sweep(filepath.Dir(final))
	temp, err := os.MkdirTemp(filepath.Dir(final), key+".partial-")
	if err != nil {
		return "", fmt.Errorf("stage %s: %w", name, full(err))
	}
	if err := finish(ctx, temp, final, build); err != nil {
		_ = s.remove(temp)
		return "", full(err)
	}
	return final, nil
}

func finish(ctx context.Context, temp, final string, build func(dir string) error) error {
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := build(temp); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := syncTree(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(final))
}

// syncTree makes every file below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		return atomicfile.SyncDir(path)
	})
}

// removeHalf removes unfinished folders of one stage key. The caller holds its lock.
func (s *Store) removeHalf(final string) {
	entries, err := os.ReadDir(filepath.Dir(final))
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(final)+".partial-") {
			_ = s.remove(filepath.Join(filepath.Dir(final), e.Name())) // it is in nobody's way
		}
	}
}

// sweep removes what killed runs left of other keys of a stage: unfinished folders and locks that nobody holds.
func (s *Store) sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		key, _, half := strings.Cut(e.Name(), ".partial-")
		if !half {
			continue
		}
		lock, err := tryLock(filepath.Join(dir, key+".lock"))
		if err != nil {
			continue
		}
		s.removeHalf(filepath.Join(dir, key))
		lock.Close()
	}
}
