package state

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// stateFolders are the parts of a state, by which it is found in an archive.
var stateFolders = []string{"models", "docker", "boot", "logs", "memory"}

// Holds refuses a folder that is no state root: none of its parts is there.
func Holds(root string) error {
	for _, name := range stateFolders {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.IsDir() {
			return nil
		}
	}
	return fault.Mark(fault.Input, fmt.Errorf("%s is no state: none of %s is in it", root, strings.Join(stateFolders, ", ")))
}

// settle finds the state in what was unpacked, holds it against the lists, and gives everything owner and mode.
func (u *unpacker) settle(dir string) error {
	var err error
	if u.Top, err = u.top(); err != nil {
		return err
	}
	u.Root = filepath.Join(dir, u.Top)
	names := slices.Sorted(maps.Keys(u.seen))
	if err := u.verify(names); err != nil {
		return err
	}
	for _, name := range slices.Backward(names) { // what is deepest first: a folder may forbid writing
		m := u.seen[name]
		rel, ok := u.within(name)
		switch {
		case !ok && m.kind != Dir && listOf(name) == "":
			u.Outside = append(u.Outside, name)
		case ok && rel != ".":
			err = u.finish(name, rel, m)
		}
		if err != nil {
			return err
		}
	}
	slices.Reverse(u.Outside)
	return nil
}

// within returns a path relative to the state.
func (u *unpacker) within(name string) (rel string, ok bool) {
	if u.Top == "." {
		return name, true
	}
	if name == u.Top {
		return ".", true
	}
	return strings.CutPrefix(name, u.Top+"/")
}

// top finds the folder with the state: the one with most of its parts in it, but none within such a part.
func (u *unpacker) top() (string, error) {
	counts := map[string]int{}
	for name, m := range u.seen {
		dir := path.Dir(name)
		if m.kind == Dir && slices.Contains(stateFolders, path.Base(name)) &&
			!slices.ContainsFunc(strings.Split(dir, "/"), func(s string) bool { return slices.Contains(stateFolders, s) }) {
			counts[dir]++
		}
	}
	depth := func(p string) int { return len(strings.Split(p, "/")) - map[bool]int{true: 1}[p == "."] }
	order := func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(depth(a), depth(b)))
	}
	list := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(order(a, b), cmp.Compare(a, b)) })
	switch {
	case len(list) == 0:
		err := fault.Mark(fault.Input, fmt.Errorf("there is no state in it: none of %s", strings.Join(stateFolders, ", ")))
		return "", fault.Hint(err, "pack the state root: tar -C /var/lib/agi-core -czf agi-state.tar.gz .")
	case len(list) > 1 && order(list[0], list[1]) == 0:
		return "", fault.Mark(fault.Input, fmt.Errorf("there is more than one state in it: %.200q and %.200q", list[0], list[1]))
	}
	return list[0], nil
}

// verify holds the files against all lists of sums beside the state or above it.
func (u *unpacker) verify(names []string) error {
	for _, name := range names {
		kind, dir := listOf(name), path.Dir(name)
		if kind == "" || u.seen[name].kind != File || dir != "." && dir != u.Top && !strings.HasPrefix(u.Top, dir+"/") {
			continue
		}
		u.Lists = append(u.Lists, name)
		if err := u.verifyList(name, dir, kind); err != nil {
			return fault.Mark(fault.Untrusted, fmt.Errorf("%s: %w", name, err))
		}
	}
	return nil
}

func (u *unpacker) verifyList(name, dir, kind string) error {
	size := sha256.Size
	if kind == MD5List {
		size = md5.Size
	}
	lines, err := u.readListed(name, size)
	if err != nil {
		return err
	}
	var bad []string
	for _, l := range lines {
		if listOf(l.name) != "" { // a list that was made over itself is wrong about itself
			continue
		}
		at, err := inside(path.Join(dir, l.name))
		m := u.seen[at]
		switch {
		case err != nil || path.IsAbs(l.name) || m == nil || m.kind != File:
			bad = append(bad, fmt.Sprintf("%.200q is missing", l.name))
		case !bytes.Equal(l.sum, m.sum(kind)):
			bad = append(bad, fmt.Sprintf("%.200q is not what it was", l.name))
		default:
			m.listed = true
		}
	}
	if n := len(bad); n > 0 {
		err := fmt.Errorf("%d of %d sums do not hold: %s", n, len(lines), strings.Join(bad[:min(n, 5)], ", "))
		return fault.Hint(err, "copy the archive again, or unpack it by hand if you know why they differ")
	}
	return nil
}

func (m *member) sum(kind string) []byte {
	if kind == MD5List {
		return m.md5
	}
	return m.sha256
}

// finish takes something into the state, unless it is a list of sums or belongs to a machine: then it is removed.
func (u *unpacker) finish(name, rel string, m *member) error {
	if m.kind == File && path.Dir(rel) == "." && listOf(rel) != "" {
		return u.root.Remove(name)
	}
	for p := rel; p != "."; p = path.Dir(p) {
		if matches(Excluded, p) { // what is in such a folder goes with it
			return u.root.RemoveAll(name)
		}
	}
	if m.kind == Link {
		if !validTarget(rel, m.target) {
			return fault.Hint(hostile("entry %.200q: it links to %.200q, outside the state", name, m.target), "pack what it links to, or leave it out with tar --exclude")
		}
		if err := u.root.Symlink(m.target, name); err != nil {
			return err
		}
	}
	if m.kind == File {
		u.Files++
		u.Bytes += m.size
		if !m.listed {
			u.Unlisted++
		}
	}
	if os.Geteuid() == 0 && !m.implied {
		if err := u.root.Lchown(name, m.uid, m.gid); err != nil {
			return err
		}
	}
	if m.kind == Link {
		return nil
	}
	return u.root.Chmod(name, fileMode(m.mode))
}
