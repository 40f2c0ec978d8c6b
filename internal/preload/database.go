package preload

import (
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/agibake/agibake/internal/tree"
)

// Schema versions of containerd 1.7 to 2.2: core/metadata (buckets.go describes the buckets) and
// core/snapshots/storage.
const (
	metaVersion   = 4
	kindCommitted = 3
)

// databases writes meta.db and the snapshotter's metadata.db.
func (pl *placer) databases(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "agibake-preload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, records := range map[string][]record{
		metaDir + "/meta.db":        pl.metaRecords(),
		overlayDir + "/metadata.db": pl.snapshotRecords(),
	} {
		data, err := writeBolt(ctx, filepath.Join(dir, filepath.Base(name)), records)
		if err != nil {
			return err
		}
		mode := uint32(0o644)
		if filepath.Base(name) == "metadata.db" {
			mode = 0o600
		}
		err = pl.out.Put(tree.Entry{
			Path: name, Mode: mode, ModTime: pl.Epoch, Size: int64(len(data)), Open: tree.Bytes(data),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// metaRecords are the images, blobs and snapshots as clients see them.
func (pl *placer) metaRecords() []record {
	var list []record
	add := func(r record, path ...string) {
		r.path = append([]string{"v1", namespace}, path...)
		list = append(list, r)
	}
	list = append(list, record{path: []string{"v1"}, values: map[string][]byte{"version": varint(metaVersion)}})
	for _, name := range slices.Sorted(maps.Keys(pl.names)) {
		target := pl.names[name]
		add(record{values: pl.times(map[string][]byte{}), sub: "target", inner: map[string][]byte{
			"digest": []byte(target.Digest), "mediatype": []byte(target.MediaType), "size": varint(target.Size),
		}}, "images", name)
	}
	for _, b := range pl.sortedBlobs() {
		r := record{values: pl.times(map[string][]byte{"size": varint(b.size)})}
		if len(b.labels) > 0 {
			r.sub, r.inner = "labels", map[string][]byte{}
			for k, v := range b.labels {
				r.inner[k] = []byte(v)
			}
		}
		add(r, "content", "blob", string(b.digest))
	}
	children := map[*snapshot]map[string][]byte{}
	for _, s := range pl.chains {
		if s.parent == nil {
			continue
		}
		if children[s.parent] == nil {
			children[s.parent] = map[string][]byte{}
		}
		children[s.parent][string(s.chain)] = nil
	}
	for _, s := range pl.chains {
		r := record{values: pl.times(map[string][]byte{"name": []byte(s.name())})}
		if s.parent != nil {
			r.values["parent"] = []byte(s.parent.chain)
		}
		if children[s] != nil {
			r.sub, r.inner = "children", children[s]
		}
		add(r, "snapshots", snapshotter, string(s.chain))
	}
	if n := len(pl.chains); n > 0 {
		add(record{sequence: uint64(n)}, "snapshots", snapshotter)
	}
	return list
}

// snapshotRecords are the snapshots as the overlayfs snapshotter keeps them.
func (pl *placer) snapshotRecords() []record {
	var list []record
	parents := map[string][]byte{}
	for _, s := range pl.chains {
		inodes, size := s.usage()
		values := pl.times(map[string][]byte{
			"id": uvarint(s.id), "kind": {kindCommitted}, "inodes": varint(inodes), "size": varint(size),
		})
		if s.parent != nil {
			values["parent"] = []byte(s.parent.name())
			key := append(append(uvarint(s.parent.id), 0), uvarint(s.id)...)
			parents[string(key)] = []byte(s.name())
		}
		list = append(list, record{path: []string{"v1", "snapshots", s.name()}, values: values})
	}
	return append(list,
		record{path: []string{"v1", "snapshots"}, sequence: uint64(len(pl.chains))},
		record{path: []string{"v1", "parents"}, values: parents})
}

// times adds the two dates that every record has.
func (pl *placer) times(values map[string][]byte) map[string][]byte {
	values["createdat"], values["updatedat"] = pl.stamp, pl.stamp
	return values
}

func (pl *placer) sortedBlobs() []*blob {
	return slices.SortedFunc(maps.Values(pl.blobs), func(a, b *blob) int {
		return cmp.Compare(a.digest, b.digest)
	})
}

func varint(n int64) []byte { return binary.AppendVarint(nil, n) }

func uvarint(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
