package preload

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/agibake/agibake/internal/tree"
)

// What the kernel's overlayfs reads (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories")
// and what layers say instead (OCI image-spec, layer.md, "Whiteouts").
const (
	overlayXattr = "trusted.overlay."
	opaqueXattr  = overlayXattr + "opaque"
	whiteout     = ".wh."
	whiteoutMeta = ".wh..wh."
	opaqueName   = ".wh..wh..opq"
)

// snapshot is one committed snapshot: the overlayfs form of a layer over its parents.
type snapshot struct {
	id     int
	chain  digest.Digest
	parent *snapshot
	tree   *tree.Tree
}

func (s *snapshot) name() string { return fmt.Sprintf("%s/%d/%s", namespace, s.id, s.chain) }

func isWhiteout(e *tree.Entry) bool { return e.Type == tree.Char && e.Major == 0 && e.Minor == 0 }

func isOpaque(e *tree.Entry) bool { return e.Xattrs[opaqueXattr] == "y" }

// lookup returns what a mount of s shows at name, without following links there or on the way, and the snapshot that
// holds it; nil if there is nothing. It reads the stack as overlayfs does.
func (s *snapshot) lookup(name string) (*tree.Entry, *snapshot) {
	for ; s != nil; s = s.parent {
		e, more := s.here(name)
		if e != nil || !more {
			return e, s
		}
	}
	return nil, nil
}

// lower is lookup in what lies below s, as far as s lets it show through.
func (s *snapshot) lower(name string) (*tree.Entry, *snapshot) {
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		e := s.tree.Lookup(name[:i])
		if e == nil {
			break
		}
		if i < len(name) && (e.Type != tree.Dir || isOpaque(e)) {
			return nil, nil
		}
	}
	return s.parent.lookup(name)
}

// here looks into s alone. Without an entry, more says whether the parent's shows through.
func (s *snapshot) here(name string) (found *tree.Entry, more bool) {
	if name == "." {
		return s.tree.Lookup("."), true
	}
	more = true
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		e := s.tree.Lookup(name[:i])
		switch {
		case e == nil:
			return nil, more
		case isWhiteout(e):
			return nil, false
		case i == len(name):
			return e, true
		case e.Type != tree.Dir:
			return nil, false
		case isOpaque(e):
			more = false
		}
	}
	return nil, more
}

// check makes sure that no hard link lost its target to a later entry.
func (s *snapshot) check() error {
	for _, e := range s.tree.Entries() {
		if e.Type != tree.Hardlink {
			continue
		}
		if to := s.tree.Lookup(e.Link); to == nil || to.Type == tree.Dir || to == e {
			return fmt.Errorf("%s: hard link to %s, which the layer replaces", e.Path, e.Link)
		}
	}
	return nil
}

// usage is what containerd counts for a snapshot: inodes, and bytes on a file system with 4 KiB blocks.
func (s *snapshot) usage() (inodes, bytes int64) {
	for _, e := range s.tree.Entries() {
		switch e.Type {
		case tree.Hardlink:
			continue
		case tree.File:
			bytes += (e.Size + 4095) &^ 4095
		case tree.Dir:
			bytes += 4096
		}
		inodes++
	}
	return inodes, bytes
}

// snapshots places every snapshot's files below its id.
func (pl *placer) snapshots(ctx context.Context) error {
	for _, s := range pl.chains {
		dir := fmt.Sprintf("%s/snapshots/%d", overlayDir, s.id)
		if err := pl.out.Put(tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o700, ModTime: pl.Epoch}); err != nil {
			return err
		}
		for _, e := range s.tree.Entries() {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := *e
			if n.Path = dir + "/fs"; e.Path != "." {
				n.Path += "/" + e.Path
			}
			if n.Type == tree.Hardlink {
				n.Link = dir + "/fs/" + e.Link
			}
			if err := pl.out.Put(n); err != nil {
				return err
			}
		}
	}
	return nil
}
