package configure

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
	"github.com/agibake/agibake/internal/wire"
)

// eachFile calls place for each of the recipe's files in the state tree, or for each outside it.
func eachFile(o Options, inState bool, place func(recipe.File, tree.Entry) error) error {
	for _, f := range o.Lock.Recipe.Files {
		if strings.HasPrefix(f.Path, wire.StateRoot+"/") != inState {
			continue
		}
		mode, err := strconv.ParseUint(cmp.Or(f.Mode, "0644"), 8, 32)
		if err != nil || mode > 0o7777 {
			return input(fmt.Errorf("file %s: mode %q: want octal digits such as 0644", f.Path, f.Mode))
		}
		e := tree.Entry{Size: int64(len(f.Content)), Open: tree.Bytes([]byte(f.Content))}
		if f.Source != "" {
			if e, err = sourced(o, f.Path); err != nil {
				return fmt.Errorf("file %s: %w", f.Path, err)
			}
		}
		e.Type, e.Mode = tree.File, uint32(mode)
		if err := place(f, e); err != nil {
			return err
		}
	}
	return nil
}

// sourced returns the content of a file that the lock pins.
func sourced(o Options, path string) (tree.Entry, error) {
	for _, l := range o.Lock.Files {
		if l.Path == path {
			return pinned(o, l.SHA256, l.Size)
		}
	}
	return tree.Entry{}, input(errors.New("not in the lock"))
}

// pinned returns the content of a cached file of the size that the lock gives.
func pinned(o Options, sha256 string, size int64) (tree.Entry, error) {
	f, err := o.OpenInput(sha256)
	if err != nil {
		return tree.Entry{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("cached file has %d bytes, the lock says %d", info.Size(), size)
	}
	return tree.Entry{Size: size, Open: func() (io.ReadCloser, error) { return o.OpenInput(sha256) }}, err
}
