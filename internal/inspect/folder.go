package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Folder is what a baked folder holds.
type Folder struct {
	Path  string    `json:"path"`
	Bake  *Bake     `json:"bake,omitempty"` // where it was baked, not pulled
	Files []Sum     `json:"files"`
	OCI   *Artifact `json:"appliance,omitempty"` // what lies in oci/
	Image *Report   `json:"image,omitempty"`     // one of the images; they all hold the same disk
}

// Bake is what bake.json says, as far as a person asks.
type Bake struct {
	Name       string  `json:"name"`
	Version    string  `json:"version"`
	LockDigest string  `json:"lockDigest"`
	Seconds    float64 `json:"seconds"`
}

// Sum is one line of SHA256SUMS, held against the file.
type Sum struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"` // as listed
	Size   int64  `json:"size"`
	State  string `json:"state"` // "holds", "not checked" or what is wrong
}

var sumLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([^/\x00]+)$`)

// Dir inspects a folder that a bake wrote. A digest that does not hold is an error of kind Untrusted, with the report.
func Dir(ctx context.Context, path string, o Options, p progress.Func) (*Folder, error) {
	d := &Folder{Path: path}
	sums, err := os.Open(filepath.Join(path, "SHA256SUMS"))
	if err != nil {
		err = fmt.Errorf("inspect %s: not a baked folder: %w", path, err)
		return nil, fault.Mark(fault.Input, fault.Hint(err, "name an image, or the folder NAME-VERSION that `agibake bake` wrote"))
	}
	defer sums.Close()
	if err := d.readBake(); err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("inspect %s: %w", path, err))
	}
	bad := d.readAppliance(ctx)
	if bad != nil && fault.KindOf(bad) != fault.Untrusted {
		return nil, fmt.Errorf("inspect %s: %w", path, bad)
	}
	const limit = 1 << 20
	for s := bufio.NewScanner(io.LimitReader(sums, limit)); s.Scan(); {
		f := sumLine.FindStringSubmatch(s.Text())
		if f == nil || !filepath.IsLocal(f[2]) {
			return nil, fault.Mark(fault.Input, fmt.Errorf("inspect %s: line %q of SHA256SUMS", path, s.Text()))
		}
		sum := Sum{File: f[2], SHA256: f[1], State: "not checked"}
		if err := sum.check(ctx, path, o, p); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			bad = errors.Join(bad, fault.Mark(fault.Untrusted, err))
		}
		d.Files = append(d.Files, sum)
	}
	if image := d.image(); image != "" {
		if d.Image, err = File(ctx, filepath.Join(path, image), Options{SkipDigests: true}, p); err != nil {
			bad = errors.Join(bad, err)
		}
	}
	return d, bad
}

func (d *Folder) readBake() error {
	const limit = 16 << 20
	f, err := os.Open(filepath.Join(d.Path, "bake.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	d.Bake = &Bake{}
	if err := json.NewDecoder(io.LimitReader(f, limit)).Decode(d.Bake); err != nil {
		return fmt.Errorf("read bake.json: %w", err)
	}
	return nil
}

// readAppliance describes what lies in oci/, if anything does.
func (d *Folder) readAppliance(ctx context.Context) error {
	l, a, err := artifact.OpenFolder(ctx, d.Path)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil
	}
	if err == nil {
		d.OCI, err = Describe(ctx, l, a)
	}
	return err
}

// check holds a listed file against its digest.
func (s *Sum) check(ctx context.Context, dir string, o Options, p progress.Func) error {
	f, err := os.Open(filepath.Join(dir, s.File))
	if err != nil {
		s.State = "missing"
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.Size = info.Size()
	if o.SkipDigests {
		return nil
	}
	got, err := digestOf(ctx, f, s.Size, s.File, p)
	if err != nil {
		return err
	}
	s.State = "holds"
	if got != s.SHA256 {
		s.State = "differs"
		return fmt.Errorf("%s has digest %s, SHA256SUMS says %s", f.Name(), got, s.SHA256)
	}
	return nil
}

// image names the listed image that reads fastest.
func (d *Folder) image() string {
	for _, ext := range []string{".raw", ".qcow2", ".vmdk", ".ova"} {
		if i := slices.IndexFunc(d.Files, func(s Sum) bool { return filepath.Ext(s.File) == ext && s.State != "missing" }); i >= 0 {
			return d.Files[i].File
		}
	}
	return ""
}
