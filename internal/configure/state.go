package configure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
	"github.com/agibake/agibake/internal/wire"
)

// State returns the content of the state partition: its folders, the models, the containers' compose file, and the
// recipe's files below wire.StateRoot. Models are opened only when they are read.
func State(ctx context.Context, o Options) (*tree.Tree, error) {
	t, epoch := tree.New(), o.Lock.Epoch
	if err := t.Put(tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755, ModTime: epoch}); err != nil {
		return nil, err
	}
	for _, dir := range wire.StateFolders {
		if err := t.MkdirAll(dir, epoch); err != nil {
			return nil, err
		}
	}
	for _, m := range o.Lock.Models {
		e, err := pinned(o, m.SHA256, m.Size)
		if err := errors.Join(ctx.Err(), err); err != nil {
			return nil, fmt.Errorf("model %s: %w", m.Name, err)
		}
		e.Type, e.Mode = tree.File, 0o644
		if err := putState(t, path.Join("models", m.Path), e, epoch); err != nil {
			return nil, fmt.Errorf("model %s: %w", m.Name, err)
		}
	}
	data, err := compose(o)
	if err != nil {
		return nil, err
	}
	if data != nil {
		if err := t.WriteFile("docker/compose.yaml", data, 0o644, epoch); err != nil {
			return nil, err
		}
	}
	return t, eachFile(o, true, func(f recipe.File, e tree.Entry) error {
		if f.Owner != "" {
			return input(fmt.Errorf("file %s: files of the state belong to root", f.Path))
		}
		return putState(t, strings.TrimPrefix(f.Path, wire.StateRoot+"/"), e, epoch)
	})
}

// putState adds a file below one of the state's folders.
func putState(t *tree.Tree, name string, e tree.Entry, epoch int64) error {
	folder, _, below := strings.Cut(name, "/")
	if !fs.ValidPath(name) || !below || t.Lookup(folder) == nil || t.Lookup(name) != nil {
		return input(fmt.Errorf("%q: not a free path below one of %s", name, strings.Join(wire.StateFolders, ", ")))
	}
	if err := t.MkdirAll(path.Dir(name), epoch); err != nil {
		return input(err)
	}
	e.Path, e.ModTime = name, epoch
	return t.Put(e)
}
