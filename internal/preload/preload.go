// Package preload writes container images into the store of Docker's containerd at bake time, so that no boot has to
// load them. It writes the files that containerd 2.x would have written itself: blobs, unpacked overlayfs snapshots
// and the two bolt databases that name them. No containerd runs, so the bytes depend on the images and the epoch
// alone, and come out the same for root and for an ordinary user.
package preload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tree"
)

// Places in containerd's root folder (plugin type and id) and the names under which Docker keeps its things there.
const (
	storeRoot   = "var/lib/containerd"
	blobDir     = storeRoot + "/io.containerd.content.v1.content/blobs/sha256"
	metaDir     = storeRoot + "/io.containerd.metadata.v1.bolt"
	overlayDir  = storeRoot + "/io.containerd.snapshotter.v1.overlayfs"
	namespace   = "moby"
	snapshotter = "overlayfs"
)

// Image is one container image with its blobs on disk.
type Image struct {
	Reference    string // the name Docker shows for it; completed as Docker does: docker.io, library/, :latest
	Manifest     []byte // the bytes that the image's digest is of
	ManifestType string // media type of Manifest; "" means what Manifest says, or an OCI manifest
	Config       []byte
	Layers       []Layer // in the manifest's order, the lowest first
}

// Layer is one layer of an image.
type Layer struct {
	Digest    string // of the blob, sha256:…
	MediaType string
	Size      int64  // bytes of the blob
	Path      string // the blob on disk
	DiffID    string // digest of the uncompressed tar
	Tar       string // the uncompressed tar on disk; see Unpack
	// Open opens the blob where it may change while it is read: Close then says so. nil opens Path.
	Open func() (io.ReadCloser, error) `json:"-"`
}

func (l *Layer) open() (io.ReadCloser, error) {
	if l.Open != nil {
		return l.Open()
	}
	return os.Open(l.Path)
}

// Options sets what all images share.
type Options struct {
	Epoch        int64  // the time of every record and of every folder that no layer dates, seconds since 1970
	Architecture string // images must be for it; "" means amd64
}

// Store is the placed store: a tree rooted at "/" whose contents are read from the images' blobs and tars,
// which stay open until Close.
type Store struct {
	Tree    *tree.Tree
	closers []io.Closer
}

// Close closes the tars. The tree's contents cannot be read any more.
func (s *Store) Close() error {
	var err error
	for _, c := range s.closers {
		err = errors.Join(err, c.Close())
	}
	s.closers = nil
	return err
}

// Place makes the containerd store that holds images. Blobs, layers and snapshots that images share are placed once.
// An image whose parts do not belong together, that is for another platform, or whose layers cannot be laid over each
// other is an error of kind Input. No images give an empty tree.
func Place(ctx context.Context, images []Image, o Options, p progress.Func) (*Store, error) {
	pl := &placer{
		Options: o, out: tree.New(), blobs: map[digest.Digest]*blob{}, layers: map[digest.Digest]*layer.Layer{},
		byChain: map[digest.Digest]*snapshot{}, names: map[string]v1.Descriptor{}, store: &Store{},
	}
	err := pl.place(ctx, images, p)
	if err != nil {
		return nil, errors.Join(err, pl.store.Close())
	}
	pl.store.Tree = pl.out
	return pl.store, nil
}

// placer gathers what the images need, by digest.
type placer struct {
	Options
	out     *tree.Tree
	blobs   map[digest.Digest]*blob
	layers  map[digest.Digest]*layer.Layer // by diff ID
	byChain map[digest.Digest]*snapshot
	chains  []*snapshot // in order of their ids, 1, 2, …
	names   map[string]v1.Descriptor
	stamp   []byte // Epoch as bolt values hold it
	store   *Store
}

// blob is one record of the content store.
type blob struct {
	digest digest.Digest
	size   int64
	labels map[string]string
	open   func() (io.ReadCloser, error)
}

func (pl *placer) place(ctx context.Context, images []Image, p progress.Func) error {
	if len(images) == 0 {
		return nil
	}
	var err error
	if pl.stamp, err = time.Unix(pl.Epoch, 0).UTC().MarshalBinary(); err != nil {
		return fmt.Errorf("preload: %w", err)
	}
	if err := pl.folders(); err != nil {
		return err
	}
	for _, image := range images {
		p.Step("preload", image.Reference)
		if err := pl.image(ctx, image); err != nil {
			return fmt.Errorf("preload %s: %w", image.Reference, err)
		}
	}
	if err := pl.content(); err != nil {
		return err
	}
	if err := pl.snapshots(ctx); err != nil {
		return err
	}
	if err := pl.databases(ctx); err != nil {
		return fmt.Errorf("preload: write containerd's databases: %w", err)
	}
	p.Send(progress.Event{Stage: "preload", Done: int64(len(images)), Total: int64(len(images)), End: true})
	return nil
}

// folders are those that containerd makes, with its modes.
func (pl *placer) folders() error {
	if err := pl.out.MkdirAll(path.Dir(storeRoot), pl.Epoch); err != nil {
		return err
	}
	for _, d := range []struct {
		path string
		mode uint32
	}{
		{storeRoot, 0o711},
		{path.Dir(path.Dir(blobDir)), 0o755}, {path.Dir(blobDir), 0o755}, {blobDir, 0o755},
		{path.Dir(path.Dir(blobDir)) + "/ingest", 0o755},
		{metaDir, 0o711}, {overlayDir, 0o700}, {overlayDir + "/snapshots", 0o700},
	} {
		if err := pl.out.Put(tree.Entry{Path: d.path, Type: tree.Dir, Mode: d.mode, ModTime: pl.Epoch}); err != nil {
			return err
		}
	}
	return nil
}

// content places the blobs.
func (pl *placer) content() error {
	for _, b := range pl.sortedBlobs() {
		name, err := artifact.Hex(b.digest)
		if err != nil {
			return err
		}
		err = pl.out.Put(tree.Entry{
			Path: blobDir + "/" + name, Mode: 0o444, ModTime: pl.Epoch, Size: b.size, Open: b.open,
		})
		if err != nil {
			return err
		}
	}
	return nil
}
