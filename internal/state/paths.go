package state

import (
	"path"
	"strings"
)

// validPath tells whether p can be created below a folder without leaving it.
func validPath(p string) bool {
	if p == "" || p == "." || len(p) > maxPath || path.Clean(p) != p || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "\x00") {
		return false
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > maxName {
			return false
		}
	}
	return true
}

// validTarget tells whether a link at p stays inside the state by its text. Other links on its way cannot lead out either,
// since all of them obey.
func validTarget(p, target string) bool {
	if target == "" || len(target) > maxPath || path.IsAbs(target) || strings.Contains(target, "\x00") {
		return false
	}
	// Names before a ".." could be links that lead elsewhere: such a path is not what it seems.
	named := false
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." && named {
			return false
		}
		named = named || part != "" && part != "." && part != ".."
	}
	in := path.Join(path.Dir(p), target)
	return in != ".." && !strings.HasPrefix(in, "../")
}
