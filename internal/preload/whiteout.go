package preload

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/tree"
)

// hide makes what a whiteout names invisible. One that hides nothing leaves no trace: overlayfs would show it.
func (a *applier) hide(name string) error {
	dir, err := a.folder(path.Dir(name))
	if err != nil {
		return err
	}
	if path.Base(name) == opaqueName {
		return a.opaque(dir)
	}
	base := strings.TrimPrefix(path.Base(name), whiteout)
	if base == "" || base == "." || base == ".." {
		return errors.New("a whiteout without a name")
	}
	return a.hideName(path.Join(dir, base))
}

// hideName hides name in the lower layers, but not what this layer has there.
func (a *applier) hideName(name string) error {
	if below, _ := a.lower(name); below == nil {
		return nil
	}
	switch e := a.tree.Lookup(name); {
	case e == nil, a.copied[name]:
	case e.Type == tree.Dir:
		return a.opaque(name)
	default:
		return nil
	}
	return a.tree.Put(tree.Entry{Path: name, Type: tree.Char, ModTime: a.epoch})
}

// opaque hides everything that lower layers have below dir.
func (a *applier) opaque(dir string) error {
	if dir == "." {
		return a.opaqueRoot()
	}
	if below, _ := a.lower(dir); below == nil || below.Type != tree.Dir {
		return nil
	}
	for name := range a.copied {
		if strings.HasPrefix(name, dir+"/") {
			a.tree.Remove(name)
		}
	}
	e := *a.tree.Lookup(dir)
	xattrs := maps.Clone(e.Xattrs)
	if xattrs == nil {
		xattrs = map[string]string{}
	}
	xattrs[opaqueXattr] = "y"
	e.Xattrs = xattrs
	return a.tree.Put(e)
}

// opaqueRoot hides the names in the root one by one: overlayfs does not read the mark on a layer's root.
func (a *applier) opaqueRoot() error {
	names := map[string]bool{}
	for s := a.parent; s != nil; s = s.parent {
		for _, e := range s.tree.Entries() {
			if e.Path != "." && !strings.Contains(e.Path, "/") {
				names[e.Path] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := a.hideName(name); err != nil {
			return err
		}
	}
	return nil
}
