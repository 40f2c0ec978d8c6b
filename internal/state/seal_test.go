package state

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/seal"
)

// TestSealed: a sealed snapshot comes back with its secret alone, shares blobs with the next one, and shows nothing.
func TestSealed(t *testing.T) {
	dir, l := mind(t), layout(t)
	secret, err := seal.NewSecret()
	fatal(t, err)
	wraps, err := secret.Wrap(t.Context(), seal.Recipients{Passphrase: "correct horse"})
	fatal(t, err)
	key := &Seal{Secret: secret, Wraps: wraps}
	opener := func(s *seal.Secret) Opener {
		return func(_ context.Context, got []seal.Wrap) (*seal.Secret, error) {
			if len(got) != len(wraps) {
				t.Errorf("%d wraps", len(got))
			}
			return s, nil
		}
	}
	c := capturedFrom(t, l, dir, Options{Seal: key, Tags: []string{Latest}})
	complete(t, l)
	x, err := Read(t.Context(), l, c.Index, opener(secret))
	fatal(t, err)
	_, err = x.Verify(t.Context(), l, nil)
	fatal(t, err)
	to := filepath.Join(t.TempDir(), "core")
	_, err = x.Restore(t.Context(), l, to, RestoreOptions{})
	fatal(t, err)
	sameTree(t, dir, to)
	time.Sleep(time.Millisecond)
	again := capturedFrom(t, l, dir, Options{Seal: key, Parent: x, Info: Info{Created: time.Unix(1e9+60, 0)}})
	if again.Added != 0 {
		t.Errorf("%d bytes more for the same state", again.Added)
	}
	if _, err := Read(t.Context(), l, c.Index, nil); fault.KindOf(err) != fault.Usage {
		t.Errorf("without a key: %v", err)
	}
	other, err := seal.NewSecret()
	fatal(t, err)
	if _, err := Read(t.Context(), l, c.Index, opener(other)); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("with another secret: %v", err)
	}
	store := filepath.Dir(mustPath(t, l, c.Index.Digest))
	list, err := os.ReadDir(store)
	fatal(t, err)
	for _, f := range list {
		data := read(t, filepath.Join(store, f.Name()))
		for _, word := range []string{"startup", "greeter", "settings", "RECURSIA", x.Info.Tree, x.Tree.Entries[len(x.Tree.Entries)-1].Sum.String()} {
			if strings.Contains(data, word) {
				t.Errorf("blob %s shows %q", f.Name(), word)
			}
		}
	}
	for _, b := range x.Contents.Blobs { // a changed bit is noticed wherever it is
		path := filepath.Join(store, b.Digest.Encoded())
		good := read(t, path)
		for _, at := range []int{0, len(good) / 2, len(good) - 1} {
			bad := []byte(good)
			bad[at] ^= 1
			fatal(t, os.WriteFile(path, bad, 0o644))
			if _, err := x.Verify(t.Context(), l, nil); fault.KindOf(err) != fault.Untrusted {
				t.Errorf("byte %d of %d: %v", at, len(good), err)
			}
		}
		fatal(t, os.WriteFile(path, []byte(good), 0o644))
	}
}
