package preload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/tree"
)

// applier builds the tree of one snapshot from its layer.
type applier struct {
	*snapshot
	layer *layer.Layer
	epoch int64
	moved map[string]string // a file's path in the layer → where it was put
	// copied are files of lower layers that stand in the tree as names of what this layer links to them.
	copied map[string]bool
}

// apply fills s with layer l over s.parent. Whiteouts hide only what lies in lower layers, wherever they stand in
// the tar. Folders that l only implies keep the attributes, and follow the links, that lower layers give them.
func (s *snapshot) apply(ctx context.Context, l *layer.Layer, epoch int64) error {
	a := &applier{snapshot: s, layer: l, epoch: epoch, moved: map[string]string{}, copied: map[string]bool{}}
	if err := a.root(); err != nil {
		return err
	}
	var whiteouts []string
	skip := ""
	for _, e := range l.Tree.Entries() {
		if err := ctx.Err(); err != nil {
			return err
		}
		base := path.Base(e.Path)
		switch {
		case e.Path == "." || skip != "" && strings.HasPrefix(e.Path, skip):
		case strings.HasPrefix(base, whiteoutMeta) && base != opaqueName:
			skip = e.Path + "/" // aufs keeps its own things there
		case strings.HasPrefix(base, whiteout):
			whiteouts = append(whiteouts, e.Path)
		case e.Type == tree.Dir && l.Implied[e.Path]:
		default:
			if err := a.put(e); err != nil {
				return fmt.Errorf("%s: %w", e.Path, err)
			}
		}
	}
	for _, opaque := range []bool{true, false} {
		for _, name := range whiteouts {
			if (path.Base(name) == opaqueName) != opaque {
				continue
			}
			if err := a.hide(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return s.check()
}

// root sets the attributes of the snapshot's root: the layer's own, else those of the layer below.
func (a *applier) root() error {
	e := tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755, ModTime: a.epoch}
	if !a.layer.Implied["."] {
		e = *a.layer.Tree.Lookup(".")
	} else if a.parent != nil {
		e = *a.parent.tree.Lookup(".")
	}
	return a.set(e)
}

// set puts e into the snapshot without attributes that would mean something to overlayfs.
func (a *applier) set(e tree.Entry) error {
	for k := range e.Xattrs {
		if strings.HasPrefix(k, overlayXattr) {
			e.Xattrs = maps.Clone(e.Xattrs)
			maps.DeleteFunc(e.Xattrs, func(k, _ string) bool { return strings.HasPrefix(k, overlayXattr) })
			break
		}
	}
	return a.tree.Put(e)
}

func (a *applier) put(e *tree.Entry) error {
	dir, err := a.folder(path.Dir(e.Path))
	if err != nil {
		return err
	}
	n := *e
	n.Path = path.Join(dir, path.Base(e.Path))
	if e.Type == tree.Hardlink {
		return a.link(n)
	}
	a.moved[e.Path] = n.Path
	return a.set(n)
}

// link puts a hard link. Its target is in this layer, or in a lower one: then it is copied up, as overlayfs would do.
func (a *applier) link(n tree.Entry) error {
	if target := a.layer.Tree.Lookup(n.Link); target != nil && target.Type != tree.Dir {
		if at, done := a.moved[n.Link]; done {
			n.Link = at
			return a.set(n)
		}
		a.moved[n.Link] = n.Path // the target stands among the things of aufs: this name carries it
		name := n.Path
		n = *target
		n.Path = name
		return a.set(n)
	}
	dir, err := a.folder(path.Dir(n.Link))
	if err != nil {
		return err
	}
	n.Link = path.Join(dir, path.Base(n.Link))
	here := a.tree.Lookup(n.Link)
	switch {
	case here == nil:
		return a.linkLower(n)
	case here.Type == tree.Dir:
		return fmt.Errorf("hard link to the folder %s", n.Link)
	case here.Type == tree.Hardlink:
		n.Link = here.Link
	}
	if n.Link == n.Path {
		return nil
	}
	return a.set(n)
}

// linkLower puts a hard link to a lower layer's file. The new name carries the content: a whiteout in this layer may
// hide the old one.
func (a *applier) linkLower(n tree.Entry) error {
	e, from := a.lower(n.Link)
	for e != nil && e.Type == tree.Hardlink {
		e = from.tree.Lookup(e.Link)
	}
	if e == nil || e.Type == tree.Dir {
		return fmt.Errorf("hard link to %s, which no layer has as a file", n.Link)
	}
	up, old := *e, n
	up.Path, old.Path, old.Link = n.Path, n.Link, n.Path
	if n.Path == n.Link {
		return a.set(up)
	}
	a.copied[n.Link] = true
	return errors.Join(a.set(up), a.set(old))
}

// folder returns where the layer's folder dir is, following links of lower layers, and makes sure that the snapshot
// has it, with the attributes that a lower layer gives it.
func (a *applier) folder(dir string) (string, error) {
	at, rest := ".", strings.Split(dir, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		name := path.Join(at, part)
		e := a.tree.Lookup(name)
		if e == nil {
			e, _ = a.lower(name)
		}
		if e != nil && e.Type == tree.Symlink {
			if links++; links > 40 {
				return "", errors.New("too many links on the way")
			}
			if strings.HasPrefix(e.Link, "/") {
				at = "."
			}
			if rest = append(strings.Split(e.Link, "/"), rest...); len(rest) > 4096 {
				return "", errors.New("links too long")
			}
			continue
		}
		if err := a.copyUp(name, e); err != nil {
			return "", err
		}
		at = name
	}
	return at, nil
}

// copyUp makes sure that the snapshot has the folder name, with the attributes of e if e is a folder.
func (a *applier) copyUp(name string, e *tree.Entry) error {
	if len(name) > 4096 {
		return errors.New("path too long")
	}
	if here := a.tree.Lookup(name); here != nil {
		if here.Type != tree.Dir {
			return fmt.Errorf("%s is not a folder", name)
		}
		return nil
	}
	up := tree.Entry{Type: tree.Dir, Mode: 0o755, ModTime: a.epoch}
	if e != nil && e.Type == tree.Dir {
		up = *e
	}
	up.Path = name
	return a.set(up)
}
