package state

import (
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/live"
)

// moved tells whether something that was not copied changed before the instant, or may have: it changed, and then again.
func moved(before, after []Found, files []string, s *live.Staged) bool {
	at := s.At.UnixNano()
	old := indexed(before)
	copied := map[string]bool{}
	for _, f := range s.Files {
		copied[f.Rel] = true
	}
	for _, p := range slices.Concat(files, s.Absorbed, s.Gone) {
		copied[p] = true
	}
	for i := range after {
		f := &after[i]
		o, db := old[f.Path], databaseOf(f.Path)
		if copied[f.Path] || f.Kind == Dir || o != nil && o.stat == f.stat {
			continue
		}
		again := o != nil && !isModel(f.Path) || old[db] != nil && !copied[db]
		if again || f.stat.Changed <= at {
			return true
		}
	}
	return false
}

func indexed(list []Found) map[string]*Found {
	all := make(map[string]*Found, len(list))
	for i := range list {
		all[list[i].Path] = &list[i]
	}
	return all
}

// never is when files change that the memo shall neither recall nor remember.
const never = math.MaxInt64

// merge lets copies stand for the files they were made of. after is what there was behind the instant.
func merge(list, after []Found, s *live.Staged) []Found {
	copies := map[string]live.File{}
	for _, f := range s.Files {
		copies[f.Rel] = f
	}
	settle := rested(list, after, s)
	var out []Found
	for _, f := range list {
		if slices.Contains(s.Absorbed, f.Path) || slices.Contains(s.Gone, f.Path) {
			continue
		}
		c, copied := copies[f.Path]
		if copied && f.Kind == File {
			f.From, f.Size, f.staged, f.stat = c.Path, c.Size, true, settle(f.Path)
			delete(copies, f.Path)
		} else if f.Kind == File && inChroma(s, f.Path) {
			continue // gone before the instant, as its journal is between two changes
		}
		out = append(out, f)
	}
	for _, c := range s.Files { // exports, and files of a database that appeared meanwhile
		if _, left := copies[c.Rel]; !left || c.Mode&fs.ModeSymlink != 0 {
			continue
		}
		f := Found{From: c.Path, staged: true, stat: stat{Changed: never}, Entry: Entry{Path: c.Rel, Kind: File, Mode: uint32(c.Mode.Perm()), Size: c.Size, Records: -1}}
		for _, d := range s.Chroma {
			if d.Export == c.Rel {
				f.stat = settle(path.Join(d.Dir, chromaFile))
			}
		}
		out = append(out, f)
	}
	return append(out, folders(out, after)...)
}

// rested gives the stat of a file that was copied. It may be recalled by that unless it changed between the lists, or is a
// database with files beside it, where its changes may be alone.
func rested(before, after []Found, s *live.Staged) func(string) stat {
	was, is, beside := indexed(before), indexed(after), map[string]bool{}
	for _, p := range s.Absorbed {
		beside[databaseOf(p)] = true
	}
	for _, list := range [][]Found{before, after} {
		for i := range list {
			beside[databaseOf(list[i].Path)] = true
		}
	}
	return func(p string) (st stat) {
		f, now := was[p], is[p]
		if f != nil {
			st = f.stat
		}
		if f == nil || now == nil || now.stat != st || beside[p] {
			st.Changed = never
		}
		return st
	}
}

// folders are those that files lie in and that are not in a list: a database's of an index that appeared meanwhile.
func folders(list, after []Found) (missing []Found) {
	known := map[string]bool{".": true}
	for _, f := range list {
		known[f.Path] = known[f.Path] || f.Kind == Dir
	}
	for _, f := range list {
		for dir := path.Dir(f.Path); !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			made := Found{Entry: Entry{Path: dir, Kind: Dir, Mode: 0o755, Records: -1}}
			if i := slices.IndexFunc(after, func(a Found) bool { return a.Path == dir && a.Kind == Dir }); i >= 0 {
				made = after[i]
			}
			missing = append(missing, made)
		}
	}
	return missing
}

// inChroma tells whether a path lies in a Chroma folder that was copied, and so copied whole.
func inChroma(s *live.Staged, p string) bool {
	return slices.ContainsFunc(s.Chroma, func(d live.Database) bool { return d.Dir == "." || strings.HasPrefix(p, d.Dir+"/") })
}

// report says what a snapshot tells of how it was captured.
func report(s *live.Staged) *Live {
	l := &Live{FrozenMS: s.Frozen.Milliseconds(), Paused: slices.Clone(s.Paused)}
	for _, p := range s.Stopped {
		l.Paused = append(l.Paused, p.Name)
	}
	for _, f := range s.Files {
		if f.Kind == live.SQLite {
			l.Databases = append(l.Databases, f.Rel)
		}
		if f.Torn > 0 {
			if l.Torn == nil {
				l.Torn = map[string]int64{}
			}
			l.Torn[f.Rel] = f.Torn
		}
	}
	for _, d := range s.Chroma {
		l.Databases = append(l.Databases, d.Dir)
	}
	return l
}
