package lock

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Ceilings of what a lock may name; they keep a hostile one from filling memory or disk.
const (
	maxPackages = 20_000
	maxItems    = 1_000
	maxBlob     = 1 << 40 // bytes of one input
	maxDocument = 4 << 20 // bytes of an image's manifest or config, as registries allow
)

var (
	hexDigest   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)             // Debian policy, section 5.6.1
	version     = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~:-]*$`) // Debian policy, section 5.6.12
	fingerprint = regexp.MustCompile(`^[0-9A-F]{40,64}$`)
)

// check tells whether everything in l is in its bounds.
func (l *Lock) check() error {
	if l.APIVersion != APIVersion {
		return fmt.Errorf("apiVersion is %q, not %q", l.APIVersion, APIVersion)
	}
	if l.Epoch < 0 || l.Epoch > 1<<40 {
		return fmt.Errorf("epoch %d is out of range", l.Epoch)
	}
	if n := max(len(l.Containers), len(l.Models), len(l.Files)); n > maxItems {
		return fmt.Errorf("%d items in one list are too many", n)
	}
	errs := []error{l.System.check("system")}
	for _, c := range l.Containers {
		errs = append(errs, c.check("container "+c.Name))
	}
	for _, m := range l.Models {
		errs = append(errs, m.check("model "+m.Path), inTree("model", m.Path))
	}
	for _, f := range l.Files {
		errs = append(errs, f.check("file "+f.Path), inTree("file", strings.TrimPrefix(f.Path, "/")))
	}
	return errors.Join(errs...)
}

func (p *Packages) check(where string) error {
	if len(p.Packages) > maxPackages || len(p.Archives) > maxItems {
		return fmt.Errorf("%s: too many packages or archives", where)
	}
	var errs []error
	for _, a := range p.Archives {
		_, err := a.Time()
		if !isHTTP(a.URL) || !hexDigest.MatchString(a.SHA256) || !fingerprint.MatchString(a.SignedBy) || err != nil {
			errs = append(errs, fmt.Errorf("%s: archive %s %s: malformed", where, a.URL, a.Suite))
		}
	}
	seen := map[string]bool{}
	for _, d := range p.Packages {
		ok := packageName.MatchString(d.Name) && version.MatchString(d.Version) && packageName.MatchString(d.Architecture) &&
			isHTTP(d.URL) && hexDigest.MatchString(d.SHA256) && size(d.Size) && !seen[d.Name]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: package %q: malformed or named twice", where, d.Name))
		}
		seen[d.Name] = true
	}
	return errors.Join(errs...)
}

func (c *Container) check(where string) error {
	if c.Packages != nil {
		if c.Manifest != nil || c.Config != nil || c.Layers != nil {
			return fmt.Errorf("%s: has both packages and a manifest", where)
		}
		return c.Packages.check(where)
	}
	if c.Manifest == nil || c.Config == nil || len(c.Layers) > maxItems {
		return fmt.Errorf("%s: lacks its manifest or config, or has too many layers", where)
	}
	if max(c.Manifest.Size, c.Config.Size) > maxDocument {
		return fmt.Errorf("%s: manifest or config larger than 4 MiB", where)
	}
	for _, b := range append([]Blob{*c.Manifest, *c.Config}, c.Layers...) {
		if d, ok := strings.CutPrefix(b.Digest, "sha256:"); !ok || !hexDigest.MatchString(d) || !size(b.Size) {
			return fmt.Errorf("%s: blob %q: malformed", where, b.Digest)
		}
	}
	return nil
}

func (f *File) check(where string) error {
	if !hexDigest.MatchString(f.SHA256) || !size(f.Size) || f.Source == "" {
		return fmt.Errorf("%s: malformed", where)
	}
	return nil
}

func inTree(what, p string) error {
	if !fs.ValidPath(p) || p == "." || path.IsAbs(p) {
		return fmt.Errorf("%s %q: not a clean path inside the tree", what, p)
	}
	return nil
}

func size(n int64) bool { return n >= 0 && n <= maxBlob }

func isHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
