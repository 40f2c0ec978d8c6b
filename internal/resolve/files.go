package resolve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// model pins the weights of one model.
func (v *resolver) model(ctx context.Context, i int, m recipe.Model) (lock.File, error) {
	at := fmt.Sprintf("models[%d]", i)
	f := lock.File{Name: m.Name, Path: m.File, Source: m.Source, SHA256: strings.ToLower(m.SHA256)}
	old := v.oldModel(m)
	var err error
	switch scheme, rest, _ := strings.Cut(m.Source, ":"); {
	case scheme == "file":
		f.Source, err = v.pinLocal(ctx, &f, strings.TrimPrefix(rest, "//"))
		f.Source = "file:" + f.Source
	case old != nil:
		return *old, nil
	case scheme == "http" || scheme == "https":
		err = v.pinURL(ctx, &f)
	case scheme == "oci":
		err = v.pinOCI(ctx, &f, rest)
	default:
		err = fault.Mark(fault.Input, fmt.Errorf("source %q is not one of https:, http:, file: and oci", m.Source))
	}
	if wrong := (*cas.DigestError)(nil); errors.As(err, &wrong) {
		at += ".sha256"
	} else {
		at += ".source"
	}
	if err != nil {
		return f, v.at(at, fmt.Errorf("model %s: %w", m.Name, err))
	}
	return f, nil
}

// local tells whether a model comes from this machine, where it may have changed.
func local(m recipe.Model) bool {
	return strings.HasPrefix(m.Source, "file:") || strings.HasPrefix(m.Source, "oci:") && !strings.HasPrefix(m.Source, "oci://")
}

// oldModel is what the previous lock pinned for the same model, or nil.
func (v *resolver) oldModel(m recipe.Model) *lock.File {
	if v.Previous == nil {
		return nil
	}
	for i, old := range v.Previous.Recipe.Models {
		if old == m && !local(m) && i < len(v.Previous.Models) && v.Previous.Models[i].Path == m.File {
			return &v.Previous.Models[i]
		}
	}
	return nil
}

// file pins a file of the system tree that has a source beside the recipe.
func (v *resolver) file(ctx context.Context, i int, rf recipe.File) (lock.File, error) {
	f := lock.File{Path: rf.Path}
	source, err := v.pinLocal(ctx, &f, rf.Source)
	f.Source = "file:" + source
	if err != nil {
		return f, v.at(fmt.Sprintf("files[%d].source", i), fmt.Errorf("file %s: %w", rf.Path, err))
	}
	return f, nil
}

// pinLocal imports a local file, checks the digest that f asks for, and returns the source to write.
func (v *resolver) pinLocal(ctx context.Context, f *lock.File, source string) (string, error) {
	want := f.SHA256
	got, size, err := v.Store.Import(ctx, v.local(source), func(n int64) { v.p.Count("resolve", f.Path, n, 0) })
	if err != nil {
		return source, err
	}
	f.SHA256, f.Size = got, size
	if want != "" && want != got {
		err := fault.Mark(fault.Untrusted, &cas.DigestError{Want: want, Got: got})
		return source, fault.Hint(err, "this is another file, or a damaged one; if it is the right one, correct sha256 in the recipe")
	}
	return v.movable(source), nil
}

// pinURL learns size and digest of a download. With a digest in the recipe the server's word on the size will do;
// without one the file itself must come.
func (v *resolver) pinURL(ctx context.Context, f *lock.File) error {
	if f.SHA256 != "" {
		if size, err := v.Store.Size(f.SHA256); err == nil {
			f.Size = size
			return nil
		}
	}
	if v.Offline {
		return fault.Hint(ErrOffline, "run agibake lock once with the network")
	}
	if f.SHA256 != "" {
		if size, ok := v.head(ctx, f.Source); ok {
			f.Size = size
			return nil
		}
	}
	d := download{url: f.Source, sha256: f.SHA256, size: -1, client: v.Client, pause: v.pause}
	var err error
	f.SHA256, f.Size, err = d.into(ctx, v.Store, func(n int64) { v.p.Count("resolve", f.Path, n, 0) })
	if errors.Is(err, ErrGone) {
		return fault.Mark(fault.Input, err)
	}
	if err != nil && fault.KindOf(err) != fault.Untrusted {
		return fault.Hint(err, "check the network; the next run goes on from what has come")
	}
	return err
}

// head asks a server for a size; servers need not know it.
func (v *resolver) head(ctx context.Context, url string) (int64, bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return 0, false
	}
	r.Header.Set("User-Agent", "agibake")
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := v.Client.Do(r)
	if err != nil {
		return 0, false
	}
	resp.Body.Close()
	return resp.ContentLength, resp.StatusCode == http.StatusOK && resp.ContentLength > 0 && resp.ContentLength <= maxUnknown
}

// fileInput is the way to get a pinned file.
func (v *resolver) fileInput(title, at string, f lock.File) input {
	in := input{title: title, digest: f.SHA256, size: f.Size}
	scheme, rest, _ := strings.Cut(f.Source, ":")
	switch {
	case scheme == "file":
		in.local, in.get = true, func(ctx context.Context, report func(int64)) error {
			return v.importPinned(ctx, v.local(rest), f.SHA256, report)
		}
	case scheme == "oci" && !strings.HasPrefix(rest, "//"):
		in.local, in.get = true, func(ctx context.Context, report func(int64)) error {
			return v.importPinned(ctx, layoutBlob(v.local(rest), f.SHA256), f.SHA256, report)
		}
	case scheme == "oci":
		in.get = func(ctx context.Context, report func(int64)) error {
			return v.registryBlob(ctx, rest[2:], lock.Blob{Digest: "sha256:" + f.SHA256, Size: f.Size}, report)
		}
	default:
		d := download{url: f.Source, sha256: f.SHA256, size: f.Size, client: v.Client, pause: v.pause}
		in.get = func(ctx context.Context, report func(int64)) error {
			_, _, err := d.into(ctx, v.Store, report)
			return v.at(at, explain(err))
		}
	}
	return in
}

// importPinned imports a local file that must still be what the lock says.
func (v *resolver) importPinned(ctx context.Context, path, want string, report func(int64)) error {
	got, _, err := v.Store.Import(ctx, path, report)
	if err != nil {
		return err
	}
	if got != want {
		err := fmt.Errorf("%s: %w: %w", path, ErrChanged, &cas.DigestError{Want: want, Got: got})
		return fault.Hint(fault.Mark(fault.Untrusted, err), "agibake lock RECIPE pins it anew")
	}
	return nil
}

// errElsewhere: of a lock that comes with an appliance nobody knows where its local sources were.
var errElsewhere = fault.Hint(fault.Mark(fault.Input, errors.New("it was a local file where the appliance was baked")),
	"bring it into the cache, or take it from what `agibake push --inputs` stored: --inputs REF")

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
