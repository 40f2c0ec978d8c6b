package fidelity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/agibake/agibake/internal/weights"
)

// Bytes are the files of the model.
type Bytes struct {
	Files []File `json:"files"` // below models/, by path
}

// File is a file below models/. What follows its hash is of a GGUF or safetensors file.
type File struct {
	Path       string   `json:"path"`
	Size       int64    `json:"size"` // bytes
	SHA256     string   `json:"sha256"`
	Tokenizer  string   `json:"tokenizer,omitempty"`  // sha256 of GGUF's metadata tokenizer.*
	Template   string   `json:"template,omitempty"`   // of tokenizer.chat_template and its variants
	Parameters string   `json:"parameters,omitempty"` // of all other metadata
	Tensors    []Tensor `json:"tensors,omitempty"`    // in the file's order
}

// Tensor is a tensor's data.
type Tensor struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes, with the padding behind them
	SHA256 string `json:"sha256"`
}

// bytes hashes all files below models/.
func (x *examiner) bytes(ctx context.Context) (*Bytes, error) {
	root, err := os.OpenRoot(x.target.Root)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	defer root.Close()
	paths, err := files(root, "models", nil)
	if err != nil {
		return nil, err
	}
	b := &Bytes{Files: []File{}}
	for _, p := range paths {
		f, err := x.file(ctx, root, p)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		b.Files = append(b.Files, f)
	}
	return b, nil
}

// files lists what is a file, or a link to one within the state, below dir in byte order. skip may leave out folders.
func files(root *os.Root, dir string, skip func(string) bool) (list []string, err error) {
	err = fs.WalkDir(root.FS(), dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && p == dir:
			return nil
		case err != nil:
			return fmt.Errorf("list the state: %w", err)
		case d.IsDir() && skip != nil && skip(p):
			return fs.SkipDir
		case d.IsDir() || d.Type()&fs.ModeSymlink == 0 && !d.Type().IsRegular():
			return nil
		}
		if list = append(list, p); len(list) > maxFiles {
			return bad("more than %d files below %s", maxFiles, dir)
		}
		return nil
	})
	return list, err
}

func (x *examiner) file(ctx context.Context, root *os.Root, p string) (File, error) {
	out := File{Path: p}
	f, err := root.Open(p)
	if err != nil {
		return out, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return out, errors.Join(err, errors.New("not a file"))
	}
	out.Size = info.Size()
	tensors, err := weights.Tensors(f, out.Size)
	if err != nil && !errors.Is(err, weights.ErrFormat) {
		return out, err
	}
	if err == nil {
		if err := out.metadata(f); err != nil {
			return out, err
		}
	}
	report := func(done int64) { x.options.Progress.Count(stage, p, done, out.Size) }
	sums, err := hash(ctx, f, out.Size, tensors, report)
	if err != nil {
		return out, err
	}
	out.SHA256 = sums[0]
	for i, t := range tensors {
		out.Tensors = append(out.Tensors, Tensor{t.Name, t.Size, sums[i+1]})
	}
	return out, nil
}

// metadata hashes what a GGUF header says, in three groups that a person tells apart.
func (f *File) metadata(r *os.File) error {
	values, err := weights.Metadata(r, f.Size)
	if err != nil || values == nil {
		return err
	}
	groups := map[*string][]weights.Value{}
	for _, v := range values {
		group := &f.Parameters
		switch {
		case strings.HasPrefix(v.Key, "tokenizer.chat_template"):
			group = &f.Template
		case strings.HasPrefix(v.Key, "tokenizer."):
			group = &f.Tokenizer
		}
		groups[group] = append(groups[group], v)
	}
	for group, list := range groups {
		if *group, err = hashValues(r, list); err != nil {
			return err
		}
	}
	return nil
}
