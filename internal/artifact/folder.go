package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

// Layout is an OCI image layout on disk (image-spec, image-layout.md). It is safe for several goroutines of one
// process. Blobs that are ranges of files elsewhere are added with Provide.
type Layout struct {
	dir      string
	mu       sync.Mutex // of index.json
	outside  sync.Mutex
	external map[digest.Digest]section
}

// ahead is how much of a blob is read before it is asked for, in bytes.
const ahead = 32 << 20

type section struct {
	path   string
	offset int64
}

// OpenLayout opens the layout in dir, which must be one: ErrNotFound.
func OpenLayout(dir string) (*Layout, error) {
	l := &Layout{dir: dir, external: map[digest.Digest]section{}}
	data, err := readFile(filepath.Join(dir, v1.ImageLayoutFile), 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open layout %s: there is no %s: %w", dir, v1.ImageLayoutFile, ErrNotFound)
	}
	var mark v1.ImageLayout
	if err == nil {
		err = json.Unmarshal(data, &mark)
	}
	if err == nil && !strings.HasPrefix(mark.Version, "1.") {
		err = fmt.Errorf("version %q is not known", mark.Version)
	}
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("open layout %s: %w", dir, err))
	}
	return l, nil
}

// CreateLayout opens the layout in dir, and makes an empty one where there is none.
func CreateLayout(dir string) (*Layout, error) {
	l, err := OpenLayout(dir)
	if !errors.Is(err, ErrNotFound) {
		return l, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, fmt.Errorf("create layout %s: %w", dir, err)
	}
	unlock, err := flock(context.Background(), filepath.Join(dir, "blobs"), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("create layout %s: %w", dir, err)
	}
	defer unlock()
	if l, err := OpenLayout(dir); !errors.Is(err, ErrNotFound) { // somebody else was faster
		return l, err
	}
	empty, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}})
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(dir, v1.ImageIndexFile), empty, 0o644)
	}
	if err == nil { // last: it makes the folder a layout
		err = atomicfile.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("create layout %s: %w", dir, err)
	}
	return OpenLayout(dir)
}

// Provide says that the bytes of d stand in the file at path from offset on (image-layout.md: blobs may be missing
// and come from elsewhere).
func (l *Layout) Provide(d v1.Descriptor, path string, offset int64) {
	l.outside.Lock()
	defer l.outside.Unlock()
	l.external[d.Digest] = section{path, offset}
}

// Path returns where the blob of d stands inside the layout, whether it is there or not.
func (l *Layout) Path(d digest.Digest) (string, error) {
	name, err := Hex(d)
	return filepath.Join(l.dir, "blobs", "sha256", name), err
}

// Index reads index.json.
func (l *Layout) Index(context.Context) (*v1.Index, error) {
	data, err := readFile(filepath.Join(l.dir, v1.ImageIndexFile), MaxManifest)
	var x v1.Index
	if err == nil {
		err = json.Unmarshal(data, &x)
	}
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("layout %s: %s: %w", l.dir, v1.ImageIndexFile, err))
	}
	return &x, nil
}

// Resolve implements Store. A reference is a digest or the value of the annotation org.opencontainers.image.ref.name.
func (l *Layout) Resolve(ctx context.Context, reference string) (v1.Descriptor, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range x.Manifests {
		if reference != "" && (string(d.Digest) == reference || d.Annotations[v1.AnnotationRefName] == reference) {
			return d, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("layout %s: %q: %w", l.dir, reference, ErrNotFound)
}

// Manifest implements Store.
func (l *Layout) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	return ReadBlob(ctx, l, d, MaxManifest)
}

// Blob implements Store.
func (l *Layout) Blob(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	path, err := l.Path(d.Digest)
	if err != nil {
		return nil, err
	}
	at, have := section{path: path}, false
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("layout %s: blob %s: not a regular file", l.dir, d.Digest))
	} else if err != nil {
		l.outside.Lock()
		at, have = l.external[d.Digest]
		l.outside.Unlock()
		if !have {
			return nil, fmt.Errorf("layout %s: blob %s: %w", l.dir, d.Digest, ErrNotFound)
		}
	}
	f, err := os.Open(at.path)
	if err != nil {
		return nil, fmt.Errorf("layout %s: blob %s: %w", l.dir, d.Digest, err)
	}
	// A hint that may be ignored: it lets the disk work while the first bytes are hashed.
	_ = unix.Fadvise(int(f.Fd()), at.offset+offset, min(d.Size-offset, ahead), unix.FADV_WILLNEED)
	if !have {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, at.offset+offset, max(d.Size-offset, 0)), f}, nil
}

// Has implements Store. A blob of another size than d's does not count.
func (l *Layout) Has(_ context.Context, d v1.Descriptor) (bool, error) {
	path, err := l.Path(d.Digest)
	if err != nil {
		return false, err
	}
	if info, err := os.Lstat(path); err == nil {
		return info.Mode().IsRegular() && info.Size() == d.Size, nil
	}
	l.outside.Lock()
	defer l.outside.Unlock()
	at, ok := l.external[d.Digest]
	if !ok {
		return false, nil
	}
	info, err := os.Stat(at.path)
	return err == nil && info.Size() >= at.offset+d.Size, nil
}

// Referrers implements Store by the subjects of the manifests that index.json lists.
func (l *Layout) Referrers(ctx context.Context, subject digest.Digest) ([]v1.Descriptor, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	for _, d := range x.Manifests {
		if d.Size > MaxManifest || d.Annotations[v1.AnnotationRefName] != "" {
			continue
		}
		raw, err := l.Manifest(ctx, d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := Decode(raw, d)
		if err != nil {
			return nil, err
		}
		if m.Subject != nil && m.Subject.Digest == subject {
			d.ArtifactType, d.Annotations = m.ArtifactType, m.Annotations
			found = append(found, d)
		}
	}
	return found, nil
}

// PutBlob implements Store.
func (l *Layout) PutBlob(ctx context.Context, d v1.Descriptor, r io.Reader) error {
	path, err := l.Path(d.Digest)
	if err != nil {
		return err
	}
	if have, err := l.Has(ctx, d); have || err != nil {
		return err
	}
	v, err := Verified(r, d)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	defer f.Abort()
	if _, err := io.Copy(f, v); err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	return f.Commit()
}

// PutManifest implements Store.
func (l *Layout) PutManifest(ctx context.Context, d v1.Descriptor, raw []byte, tag string) error {
	if err := Check(raw, d); err != nil {
		return err
	}
	if err := l.PutBlob(ctx, d, bytes.NewReader(raw)); err != nil {
		return err
	}
	return l.list(ctx, d, tag)
}

// list names a manifest that is there in index.json.
func (l *Layout) list(ctx context.Context, d v1.Descriptor, tag string) error {
	d.Annotations = nil
	if tag != "" {
		d.Annotations = map[string]string{v1.AnnotationRefName: tag}
	}
	same := func(o v1.Descriptor) bool {
		return o.Annotations[v1.AnnotationRefName] == tag && (tag != "" || o.Digest == d.Digest)
	}
	return l.edit(ctx, func(x *v1.Index) {
		if i := slices.IndexFunc(x.Manifests, same); i < 0 {
			x.Manifests = append(x.Manifests, d)
		} else {
			x.Manifests[i] = d
		}
	})
}

// readFile reads a small regular file.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() { // a pipe would hold us up
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, err
}
