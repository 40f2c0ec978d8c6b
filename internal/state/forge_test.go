package state

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// forgery is a good snapshot taken apart, to be changed and put together as anyone can who may push.
type forgery struct {
	t        testing.TB
	l        *artifact.Layout
	tree     *Tree
	contents *Contents
	info     Info
	own      v1.Manifest
	index    v1.Index
	other    v1.Descriptor // the index of another good snapshot in the layout

	rawTree, rawInfo []byte // instead of the above
	keepInfo         bool   // the info goes on saying what it said
}

func forge(t testing.TB, l *artifact.Layout, d, other v1.Descriptor) *forgery {
	x, err := Read(t.Context(), l, d, nil)
	fatal(t, err)
	f := &forgery{t: t, l: l, tree: x.Tree, contents: x.Contents, info: x.Info, other: other}
	f.load(d, &f.index)
	f.load(f.index.Manifests[0], &f.own)
	return f
}

func (f *forgery) load(d v1.Descriptor, v any) {
	raw, err := f.l.Manifest(f.t.Context(), d)
	fatal(f.t, err)
	fatal(f.t, json.Unmarshal(raw, v))
}

func (f *forgery) blob(mediaType string, data []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	fatal(f.t, f.l.PutBlob(f.t.Context(), d, bytes.NewReader(data)))
	return d
}

func (f *forgery) entry(path string) *Entry {
	i := slices.IndexFunc(f.tree.Entries, func(e Entry) bool { return e.Path == path })
	return &f.tree.Entries[i]
}

// add puts entries where a tree has them; paths with a slash at their end become folders.
func (f *forgery) add(list ...Entry) {
	f.tree.Entries = append(f.tree.Entries, list...)
	slices.SortStableFunc(f.tree.Entries, compareEntries)
}

func emptyFile(path string) Entry { return Entry{Path: path, Kind: File, Sum: sumOf(nil), Records: -1} }
func link(path, to string) Entry {
	return Entry{Path: path, Kind: Link, Mode: 0o777, Target: to, Records: -1}
}

// layer replaces a document of the manifest.
func (f *forgery) layer(mediaType string, data []byte) {
	z, err := zstd.NewWriter(nil)
	fatal(f.t, err)
	i := slices.IndexFunc(f.own.Layers, func(d v1.Descriptor) bool { return d.MediaType == mediaType })
	if d := f.blob(mediaType, z.EncodeAll(data, nil)); i >= 0 {
		f.own.Layers[i] = d
	}
}

// store puts all together and returns the index.
func (f *forgery) store() v1.Descriptor {
	tree := f.rawTree
	if tree == nil {
		tree = f.tree.Encode()
	}
	if !f.keepInfo {
		f.info.Tree = sumOf(tree).String()
		f.info.Files, f.info.Bytes, f.info.Records = f.tree.count()
		if f.index.Annotations[AnnotationTree] != "" {
			f.index.Annotations[AnnotationTree] = f.info.Tree
		}
	}
	f.layer(TypeTree, tree)
	f.layer(TypeContents, f.contents.Encode())
	info := f.rawInfo
	if info == nil {
		info, _ = json.Marshal(f.info)
	}
	f.own.Config = f.blob(f.own.Config.MediaType, info)
	raw, d, err := artifact.Encode(v1.MediaTypeImageManifest, f.own)
	fatal(f.t, err)
	f.blob(d.MediaType, raw)
	if f.index.Manifests[0].ArtifactType == TypeState {
		d.ArtifactType = TypeState
		f.index.Manifests[0] = d
	}
	raw, root, err := artifact.Encode(v1.MediaTypeImageIndex, f.index)
	fatal(f.t, err)
	fatal(f.t, f.l.PutManifest(f.t.Context(), root, raw, ""))
	return root
}

// use does with a snapshot what a person would: read, restore, switch. It returns the folder that became the state.
func use(t testing.TB, l *artifact.Layout, d v1.Descriptor) (root string, err error) {
	root = filepath.Join(t.TempDir(), "in", "core")
	fatal(t, os.Mkdir(filepath.Dir(root), 0o755))
	x, err := Read(t.Context(), l, d, nil)
	if err == nil {
		_, err = x.Restore(t.Context(), l, x.Staging(root), RestoreOptions{})
	}
	if err == nil {
		_, err = Switch(x.Staging(root), root, time.Now())
	}
	return root, err
}

// refused holds that nothing came of a snapshot but a remark about trust.
func refused(t *testing.T, root string, err error) {
	t.Helper()
	if fault.KindOf(err) != fault.Untrusted {
		t.Errorf("kind %d: %v", fault.KindOf(err), err)
	} else if len(err.Error()) > 1500 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
	if _, err := os.Lstat(root); err == nil {
		t.Error("it became the state")
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(root)), "*"))
	fatal(t, err)
	if len(names) != 1 || filepath.Base(names[0]) != "in" {
		t.Errorf("outside there is %v", names)
	}
}

func replaced(data []byte, old, with string) []byte {
	return []byte(strings.Replace(string(data), old, with, 1))
}

type layoutOf = artifact.Layout

// sampleOnce captures two states that have a part in common, once.
func sampleOnce() func(testing.TB) string {
	var once sync.Once
	var dir string
	return func(t testing.TB) string {
		once.Do(func() {
			dir = filepath.Join(work, "sample")
			l, err := artifact.CreateLayout(dir)
			fatal(t, err)
			state := mind(t)
			capturedFrom(t, l, state, Options{Tags: []string{"first"}})
			write(t, state, map[string]string{"boot/startup.txt": "Кто я?\n"})
			capturedFrom(t, l, state, Options{Tags: []string{"second"}, Info: Info{Created: time.Unix(1e9+60, 0)}})
		})
		return dir
	}
}

func opened(t testing.TB, dir string) (l *artifact.Layout, first, second v1.Descriptor) {
	l, err := artifact.OpenLayout(dir)
	fatal(t, err)
	first, err = l.Resolve(t.Context(), "first")
	fatal(t, err)
	second, err = l.Resolve(t.Context(), "second")
	fatal(t, err)
	return l, first, second
}

func mustPath(t testing.TB, l *artifact.Layout, d digest.Digest) string {
	path, err := l.Path(d)
	fatal(t, err)
	return path
}
