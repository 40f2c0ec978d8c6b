package recipe

import (
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func (d *decoder) checkModels(models []Model) {
	files := map[string]string{}
	for i := range models {
		m, at := &models[i], item("models", i)
		d.checkModelFile(m.File, at+".file")
		if before := files[m.File]; before != "" {
			d.wrong(at+".file", "", "two models in one file: %s stands in %s already", quote(m.File), d.places[before])
		} else if m.File != "" {
			files[m.File] = at + ".file"
		}
		if m.Source != "" && !d.bad[at+".source"] {
			d.checkSource(m, at)
		}
	}
}

func (d *decoder) checkModelFile(file, at string) {
	switch {
	case file == "" || d.bad[at]:
	case slices.Contains(strings.Split(file, "/"), ".."), path.IsAbs(file):
		d.wrong(at, "", "%s escapes the tree: the path is relative to models/", quote(file))
	case path.Clean(file) != file || file == "." || strings.ContainsAny(file, ":\\"):
		d.wrong(at, "", "%s is not a plain relative path", quote(file))
	}
}

func (d *decoder) checkSource(m *Model, at string) {
	scheme, rest, _ := strings.Cut(m.Source, ":")
	switch scheme {
	case "http", "https":
		if u, err := url.Parse(m.Source); err != nil || u.Host == "" {
			d.wrong(at+".source", "", "%s is not a web address", quote(m.Source))
		} else if scheme == "http" && m.SHA256 == "" {
			d.wrong(at+".source", "add sha256, or use https", "%s can be changed on its way", quote(m.Source))
		}
	case "file":
		if after, ok := strings.CutPrefix(rest, "//"); ok {
			rest = after
		}
		d.local(at+".source", &rest, "file:", aFile, "")
		m.Source = "file:" + rest
	case "oci":
		if strings.HasPrefix(rest, "//") {
			d.checkReference(rest[2:], at+".source")
			return
		}
		d.localLayout(at+".source", &rest)
		m.Source = "oci:" + rest
	default:
		d.wrong(at+".source", "", "%s begins with none of https:, http:, file:, oci:", quote(m.Source))
	}
}

// LocalPath returns the file of a model whose source is on this machine.
func (m Model) LocalPath() (string, bool) { return strings.CutPrefix(m.Source, "file:") }

const (
	aFile   = false
	aFolder = true
)

// local makes the path at *p absolute, from the folder of the recipe file it stands in, and checks that it can be
// read. An empty path stays.
func (d *decoder) local(at string, p *string, prefix string, folder bool, hint string) {
	if *p == "" && prefix == "" || d.bad[at] {
		return
	}
	if *p == "" {
		d.wrong(at, "", "%s names no file", quote(prefix))
		return
	}
	if err := d.absolute(at, p); err != nil {
		d.wrong(at, "", "%s", err)
		return
	}
	if err := readable(*p, folder); err != nil {
		d.wrong(at, hint, "cannot read %s", reason(*p, err))
	}
}

// localLayout does the same for FOLDER[:TAG].
func (d *decoder) localLayout(at string, p *string) {
	folder, tag, tagged := strings.Cut(*p, ":")
	if tagged && !ociTag.MatchString(tag) {
		d.wrong(at, "", "%s is not a tag of an image", quote(tag))
		return
	}
	d.local(at, &folder, "", aFolder, "")
	*p = folder
	if tagged {
		*p += ":" + tag
	}
}

var ociTag = re(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func (d *decoder) absolute(at string, p *string) error {
	full := *p
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(d.places[at].File), full)
	}
	full, err := filepath.Abs(full)
	if err == nil {
		*p = full
	}
	return err
}

func readable(p string, folder bool) error {
	info, err := os.Stat(p)
	switch {
	case err != nil:
		return err
	case folder && !info.IsDir():
		return errors.New(p + ": not a folder")
	case !folder && !info.Mode().IsRegular():
		return errors.New(p + ": not a file")
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	return f.Close()
}
