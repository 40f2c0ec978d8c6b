package preload

import (
	"bytes"
	"context"
	"io"
	"path"
	"testing"

	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/tree"
)

// FuzzApply lays any two tars over each other: the result is a proper tree or an error.
func FuzzApply(f *testing.F) {
	f.Add(tarOf(f, "d d", "f d/a 1", "l l d"), tarOf(f, "f l/.wh.a", "h x l/a", "f .wh.l"))
	f.Add(tarOf(f, "l a b/c", "f b/c/x 1"), tarOf(f, "f a/y 2", "f b 3"))
	f.Add(tarOf(f, "f a 1"), tarOf(f, "f a/.wh..wh..opq", "f .wh..wh..opq", "h b a"))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		var s *snapshot
		for _, data := range [][]byte{lower, upper} {
			l, err := layer.Index(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				return
			}
			s = &snapshot{parent: s, tree: tree.New()}
			if err := s.apply(context.Background(), l, 0); err != nil {
				return
			}
			for _, e := range s.tree.Entries() {
				if up := s.tree.Lookup(path.Dir(e.Path)); up == nil || up.Type != tree.Dir {
					t.Fatalf("%s: its parent is no folder", e.Path)
				}
			}
			if _, err := layer.Write(context.Background(), io.Discard, s.tree); err != nil {
				t.Fatal(err)
			}
		}
	})
}
