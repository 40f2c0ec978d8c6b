package parts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/erasure"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

// SplitOptions are how Split works.
type SplitOptions struct {
	Needed   int      // parts that restore
	Tags     []string // the names that the snapshot has
	Base     string   // what the parts' names begin with
	Title    string   // of the set, for a person; readable in each part
	Seal     *state.Seal
	Progress progress.Func
}

// Part says where a part lies.
type Part struct {
	Number int    `json:"number"`
	Place  string `json:"place"`
	Where  string `json:"where"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Split writes a snapshot as parts, one to each place: parts of an OCI layout in one tar, sealed if o.Seal says so. They
// get their names when all are complete. Errors are those of the store and of the places.
func Split(ctx context.Context, s Source, root v1.Descriptor, to []Place, o SplitOptions) (erasure.Set, []Part, error) {
	var set erasure.Set
	st, err := newStream(ctx, s, root, o.Tags)
	if err != nil {
		return set, nil, fmt.Errorf("split: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var files []*sumFile
	var out []io.Writer
	for _, p := range to {
		f, err := p.Create(ctx)
		if err != nil {
			return set, nil, fmt.Errorf("split to %s: %w", p, err)
		}
		defer f.Abort()
		files = append(files, &sumFile{File: f, hash: sha256.New()})
		out = append(out, files[len(files)-1])
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		b := bufio.NewWriterSize(w, 1<<20)
		err := st.writeTo(ctx, b, o.Seal)
		if err == nil {
			err = b.Flush()
		}
		w.CloseWithError(err)
		written <- err
	}()
	total := st.size()
	set, err = erasure.Split(ctx, r, out, erasure.Options{Parts: len(to), Needed: o.Needed, Name: o.Title, Progress: func(e progress.Event) {
		e.Total = max(total, e.Done)
		o.Progress.Send(e)
	}})
	r.CloseWithError(errors.New("splitting stopped"))
	if lost := <-written; err == nil {
		err = lost
	}
	if err != nil {
		return set, nil, err
	}
	parts, err := commit(ctx, set, to, files, o.Base)
	return set, parts, err
}

func (st *stream) writeTo(ctx context.Context, w io.Writer, key *state.Seal) error {
	if key == nil {
		return st.write(ctx, w)
	}
	return st.writeSealed(ctx, w, key)
}

func commit(ctx context.Context, set erasure.Set, to []Place, files []*sumFile, base string) (list []Part, err error) {
	for i, f := range files {
		p := Part{Number: i + 1, Place: to[i].String(), Size: f.size, SHA256: hex.EncodeToString(f.hash.Sum(nil))}
		if p.Where, err = f.Commit(ctx, name(base, set, i+1)); err != nil {
			return nil, fmt.Errorf("split to %s: %w", to[i], err)
		}
		list = append(list, p)
	}
	return list, nil
}

// sumFile hashes a part on its way.
type sumFile struct {
	File
	hash hash.Hash
	size int64
}

func (f *sumFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.hash.Write(p[:n])
	f.size += int64(n)
	return n, err
}
