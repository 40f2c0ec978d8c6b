package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// plan says what to do with each path.
type plan struct {
	root, staging string
	plain         []string
	jsonl         []string
	sqlite        []string
	chroma        []string // folders
	absorbed      []string
	frozen        *Frozen           // while files are taken
	early         map[string]string // jsonl files copied before the instant, and how they were
}

// newPlan sorts files, paths below root, by what they are.
func newPlan(root string, files []string, staging string) (*plan, error) {
	p := &plan{root: root, staging: staging, early: map[string]string{}}
	files = slices.Clone(files)
	slices.Sort(files)
	files = slices.Compact(files)
	folders := map[string]bool{}
	for _, f := range files {
		if !filepath.IsLocal(f) || path.Clean(f) != f {
			return nil, fmt.Errorf("stage %q: not a clean path below the root", f)
		}
		if path.Base(f) == chromaFile && isChroma(filepath.Join(root, f)) {
			folders[path.Dir(f)] = true
			p.chroma = append(p.chroma, path.Dir(f))
		}
	}
	for _, f := range files {
		switch {
		case within(f, folders), slices.ContainsFunc(p.chroma, func(dir string) bool { return exportOf(dir) == f }):
			// copied with its folder; or an export from before, now made anew
		case p.absorbs(f):
			p.absorbed = append(p.absorbed, f)
		case strings.HasSuffix(f, ".jsonl"), strings.HasSuffix(f, ".ndjson"):
			p.jsonl = append(p.jsonl, f)
		case IsSQLite(filepath.Join(root, f)):
			p.sqlite = append(p.sqlite, f)
		default:
			p.plain = append(p.plain, f)
		}
	}
	return p, nil
}

func within(f string, folders map[string]bool) bool {
	for dir := path.Dir(f); ; dir = path.Dir(dir) {
		if folders[dir] {
			return true
		}
		if dir == "." {
			return false
		}
	}
}

// absorbs tells whether a file belongs to a database and has no place of its own.
func (p *plan) absorbs(f string) bool {
	for _, suffix := range sidecars {
		if database, ok := strings.CutSuffix(f, suffix); ok && IsSQLite(filepath.Join(p.root, database)) {
			return true
		}
	}
	return false
}

// exportOf is where the logical export of a Chroma folder appears: beside the folder.
func exportOf(dir string) string {
	if dir == "." {
		return "chroma.export.jsonl"
	}
	return dir + ".export.jsonl"
}

// chromaFiles lists a Chroma folder's files as they are now, chroma.sqlite3 and what belongs to it left out.
func (p *plan) chromaFiles(dir string) (files, absorbed []string, err error) {
	err = filepath.WalkDir(filepath.Join(p.root, dir), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(p.root, name)
		if err != nil || d.IsDir() || rel == path.Join(dir, chromaFile) || rel == exportOf(dir) {
			return err
		}
		if p.absorbs(rel) {
			absorbed = append(absorbed, rel)
		} else if d.Type().IsRegular() {
			files = append(files, rel)
		}
		return nil
	})
	return files, absorbed, err
}

func (p *plan) src(rel string) string { return filepath.Join(p.root, rel) }
func (p *plan) dst(rel string) string { return filepath.Join(p.staging, rel) }

// copyable tells whether a path is a file or a link now.
func (p *plan) copyable(rel string) bool {
	info, err := os.Lstat(p.src(rel))
	return err == nil && (info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0)
}
