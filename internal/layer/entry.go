package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/agibake/agibake/internal/tree"
)

// entryOf takes a header's type and attributes.
func entryOf(h *tar.Header) (tree.Entry, error) {
	e := tree.Entry{Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid, ModTime: h.ModTime.Unix()}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32-1 || h.Gid > math.MaxUint32-1 {
		return e, fmt.Errorf("owner %d:%d out of range", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		e.Type, e.Size = tree.File, h.Size
	case tar.TypeDir:
		e.Type = tree.Dir
	case tar.TypeSymlink:
		e.Type, e.Link, e.Mode = tree.Symlink, h.Linkname, 0o777 // as Linux makes them (symlink(7)), whatever a builder wrote
	case tar.TypeLink:
		e.Type = tree.Hardlink
		link, err := cleanName(h.Linkname)
		if err != nil {
			return e, fmt.Errorf("link target: %w", err)
		}
		e.Link = link
	case tar.TypeChar, tar.TypeBlock:
		e.Type = tree.Char
		if h.Typeflag == tar.TypeBlock {
			e.Type = tree.Block
		}
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 0xfff || h.Devminor > 0xfffff {
			return e, fmt.Errorf("device %d:%d out of range", h.Devmajor, h.Devminor)
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeFifo:
		e.Type = tree.Fifo
	case tar.TypeGNUSparse:
		return e, errors.New("sparse entries are not supported")
	default:
		return e, fmt.Errorf("unknown entry type %q", h.Typeflag)
	}
	if e.Type == tree.Symlink && (e.Link == "" || len(e.Link) >= maxPath || strings.IndexByte(e.Link, 0) >= 0) {
		return e, errors.New("unusable link target")
	}
	return e, xattrs(h, &e)
}

func xattrs(h *tar.Header, e *tree.Entry) error {
	size := 0
	for k, v := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return errors.New("sparse entries are not supported")
		}
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		if size += len(name) + len(v); name == "" || len(name) > maxName || size > maxXattrs {
			return errors.New("unusable extended attributes")
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = v
	}
	return nil
}

// cleanName makes a tar member's name a tree path: relative, clean, "." for the root. Names with ".." are refused.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 || len(name) > maxPath {
		return "", fmt.Errorf("name %.64q: not a usable path", name)
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("name %.64q: leads out of the layer", name)
		}
		if len(part) > maxName {
			return "", fmt.Errorf("name %.64q: longer than %d bytes", part, maxName)
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return ".", nil
	}
	return name, nil
}
