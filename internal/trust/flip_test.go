package trust

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sample"
)

// TestEveryFlippedByte changes each byte of everything that a signed appliance consists of, one at a time: index,
// manifests, configs, layers, disk, recipe, lock, SBOM, provenance, signatures, and the key. None is taken.
func TestEveryFlippedByte(t *testing.T) {
	dir := t.TempDir()
	_, a := signed(t, dir, sample.Spec{})
	key := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(key, keys()[0].Public().PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := use(t, dir, key, a); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "oci", "blobs", "sha256", "*"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d blobs, %v", len(files), err)
	}
	files = append(files, key, filepath.Join(dir, "oci", "index.json"), filepath.Join(dir, "oci", "oci-layout"), filepath.Join(dir, "saiga-1.0.0.qcow2"))
	flips := 0
	for _, file := range files {
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), good...)
		for i := range good {
			bad[i] = good[i] ^ 1<<(i%8)
			write(t, file, bad)
			if err := use(t, dir, key, a); err == nil && !unsaid(file) {
				t.Errorf("%s: byte %d of %d may be changed", filepath.Base(file), i, len(good))
			} else if k := fault.KindOf(err); err != nil && k != fault.Untrusted && k != fault.Input {
				t.Errorf("%s: byte %d: kind %d: %v", filepath.Base(file), i, k, err)
			}
			bad[i] = good[i]
			flips++
		}
		write(t, file, good)
	}
	if err := use(t, dir, key, a); err != nil {
		t.Errorf("changed back: %v", err)
	}
	t.Logf("%d flips", flips)
}

// unsaid are the files of the layout itself: what they say is a name or a place, and whatever is found there must hold.
func unsaid(file string) bool {
	return filepath.Base(file) == "index.json" || filepath.Base(file) == "oci-layout"
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0) // in place: a disk and its blob are one file
	if err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// use is what verify does with a folder. What it takes must be the very appliance.
func use(t *testing.T, dir, key string, want *artifact.Appliance) error {
	t.Helper()
	v, err := ReadKey(key)
	if err != nil {
		return err
	}
	l, a, err := artifact.OpenFolder(t.Context(), dir)
	if err != nil {
		return err
	}
	blobs, err := Everything(t.Context(), l, a)
	if err != nil {
		return err
	}
	c, err := artifact.CheckContent(t.Context(), l, blobs, 1, nil) // before Verify: it is faster
	if err != nil {
		return err
	}
	if c.Absent > 0 {
		return fault.Mark(fault.Untrusted, errors.New("a blob is gone"))
	}
	_, err = Verify(t.Context(), l, Of(a), dir, KeyPolicy(v))
	if err == nil && a.Index.Digest != want.Index.Digest {
		t.Errorf("%s was taken", a.Index.Digest)
	}
	return err
}
