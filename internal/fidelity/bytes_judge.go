package fidelity

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

var errNoModels = errors.New("the state folder has no file below models/")

func (x *examiner) checkBytes(ctx context.Context, b *Baseline, _ *Verdict) (Level, error) {
	switch {
	case b.Bytes == nil:
		return notAsked("the baseline has no model files"), nil
	case x.target.Root == "":
		return notAsked("no state folder was given"), nil
	}
	is, err := x.bytes(ctx)
	if err != nil {
		return Level{}, err
	}
	return judgeBytes(b.Bytes, is), nil
}

// judgeBytes wants every file of the baseline, byte for byte. Files beside them are noted.
func judgeBytes(was, is *Bytes) Level {
	l := Level{Status: Pass}
	now, hashes := map[string]File{}, map[string]string{}
	for _, f := range is.Files {
		now[f.Path], hashes[f.SHA256] = f, f.Path
	}
	tensors, size := 0, int64(0)
	for _, old := range was.Files {
		f, there := now[old.Path]
		moved, same := hashes[old.SHA256]
		switch delete(now, old.Path); {
		case there && f.SHA256 == old.SHA256:
		case there:
			l.fail("%s", changed(old, f))
		case same:
			l.note("%s is now called %s", old.Path, moved)
			delete(now, moved)
		default:
			l.fail("%s is missing", old.Path)
		}
		tensors, size = tensors+len(old.Tensors), size+old.Size
	}
	for _, f := range is.Files {
		if _, extra := now[f.Path]; extra {
			l.note("%s is new", f.Path)
		}
	}
	if len(was.Files) == 0 {
		return notAsked(errNoModels.Error())
	}
	if l.Status == Pass {
		l.first("%s with %s, %s: equal, byte for byte", plural(len(was.Files), "file"), plural(tensors, "tensor"), amount(size))
	}
	return l
}

// changed says what of a model file is not as it was.
func changed(was, is File) string {
	if len(was.Tensors) > 0 && len(is.Tensors) == 0 {
		return is.Path + " is no model file that can be read any more"
	}
	var parts []string
	if text := tensorsChanged(was.Tensors, is.Tensors); text != "" {
		parts = append(parts, text)
	}
	for _, p := range []struct{ text, was, is string }{
		{"the tokenizer differs", was.Tokenizer, is.Tokenizer}, {"the chat template differs", was.Template, is.Template}, {"the model's parameters differ", was.Parameters, is.Parameters},
	} {
		if p.was != p.is {
			parts = append(parts, p.text)
		}
	}
	if len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("%d bytes, were %d; the sha256 is another", is.Size, was.Size))
	}
	return is.Path + ": " + strings.Join(parts, "; ")
}

func tensorsChanged(was, is []Tensor) string {
	now := map[string]Tensor{}
	for _, t := range is {
		now[t.Name] = t
	}
	var sizes, sums, missing []string
	for _, t := range was {
		switch n, ok := now[t.Name]; {
		case !ok:
			missing = append(missing, t.Name)
		case n.Size != t.Size:
			sizes = append(sizes, t.Name)
		case n.SHA256 != t.SHA256:
			sums = append(sums, t.Name)
		}
	}
	switch all := plural(len(was), "tensor"); {
	case len(missing) > 0:
		return fmt.Sprintf("%d of %s are missing (%s)", len(missing), all, some(missing))
	case len(sizes) > 0:
		return fmt.Sprintf("another quantisation: %d of %s have another size", len(sizes), all)
	case len(sums) > 0:
		return fmt.Sprintf("other weights: %d of %s differ (%s)", len(sums), all, some(sums))
	case len(was) != len(is):
		return fmt.Sprintf("%s, were %d", plural(len(is), "tensor"), len(was))
	}
	return ""
}
