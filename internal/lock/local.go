package lock

import (
	"net/url"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/recipe"
)

// MapLocal returns r with every path to a local source changed by f: models, layouts, archives, files and the key.
// Nothing of r is changed.
func MapLocal(r recipe.Recipe, f func(string) string) recipe.Recipe {
	r.Containers, r.Models, r.Files = slices.Clone(r.Containers), slices.Clone(r.Models), slices.Clone(r.Files)
	for i := range r.Containers {
		r.Containers[i].Image = mapImage(r.Containers[i].Image, f)
	}
	for i := range r.Models {
		r.Models[i].Source = mapSource(r.Models[i].Source, f)
	}
	for i := range r.Files {
		r.Files[i].Source = mapPath(r.Files[i].Source, f)
	}
	if r.Sign != nil {
		r.Sign = &recipe.Sign{Key: mapPath(r.Sign.Key, f)}
	}
	return r
}

func mapPath(p string, f func(string) string) string {
	if p == "" {
		return ""
	}
	return f(p)
}

func mapImage(i recipe.Image, f func(string) string) recipe.Image {
	i.Archive = mapPath(i.Archive, f)
	i.Layout = mapLayout(i.Layout, f)
	return i
}

// mapLayout changes the folder of FOLDER[:TAG].
func mapLayout(s string, f func(string) string) string {
	folder, tag := SplitLayout(s)
	if tag != "" {
		tag = ":" + tag
	}
	return mapPath(folder, f) + tag
}

// mapSource changes the path of a model's source.
func mapSource(s string, f func(string) string) string {
	scheme, rest, _ := strings.Cut(s, ":")
	switch {
	case scheme == "file":
		return "file:" + f(rest)
	case scheme == "oci" && !strings.HasPrefix(rest, "//"):
		return "oci:" + mapLayout(rest, f)
	}
	return s
}

// SplitLayout separates the two parts of FOLDER[:TAG].
func SplitLayout(s string) (folder, tag string) {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// Public returns an address that everyone can use, without what may be a secret in it: "" for a place of this machine.
func Public(source string) string {
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci" || u.Host == "" {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// nowhere forgets where local sources lie: what they hold is pinned by digest, so a bake must not depend on it.
func nowhere(string) string { return "." }

// Portable returns what Digest is the SHA-256 of: the canonical content of l without the places of local sources and
// without passwords and tokens in addresses, and the recipe in it, as YAML that recipe.Parse reads.
func Portable(l *Lock) (content, recipe []byte, err error) {
	n := anywhere(l)
	if content, err = Marshal(n); err == nil {
		recipe, err = n.Recipe.Marshal()
	}
	return content, recipe, err
}

// anywhere returns l without the places of local sources, and without what may be a secret in addresses.
func anywhere(l *Lock) *Lock {
	n := *l
	n.Recipe = openly(MapLocal(l.Recipe, nowhere))
	n.Containers, n.Models, n.Files = slices.Clone(l.Containers), slices.Clone(l.Models), slices.Clone(l.Files)
	n.System = *openPackages(&n.System)
	for i, c := range n.Containers {
		if scheme, _, _ := strings.Cut(c.Source, ":"); scheme == "layout" || scheme == "archive" {
			n.Containers[i].Source = scheme
		}
		n.Containers[i].Packages = openPackages(c.Packages)
	}
	for _, files := range [][]File{n.Models, n.Files} {
		for i := range files {
			files[i].Source = openSource(mapSource(files[i].Source, nowhere))
		}
	}
	return &n
}

// openly returns r, whose lists are not shared, without the secrets in its addresses.
func openly(r recipe.Recipe) recipe.Recipe {
	r.Base.Mirror = nobody(r.Base.Mirror)
	for i := range r.Containers {
		if p := r.Containers[i].Image.Packages; p != nil {
			own := *p
			own.Mirror = nobody(p.Mirror)
			r.Containers[i].Image.Packages = &own
		}
	}
	for i := range r.Models {
		r.Models[i].Source = openSource(r.Models[i].Source)
	}
	return r
}

func openPackages(p *Packages) *Packages {
	if p == nil {
		return nil
	}
	own := *p
	own.Archives, own.Packages = slices.Clone(p.Archives), slices.Clone(p.Packages)
	for i := range own.Archives {
		own.Archives[i].URL = nobody(own.Archives[i].URL)
	}
	for i := range own.Packages {
		own.Packages[i].URL = nobody(own.Packages[i].URL)
	}
	return &own
}

// nobody takes user and password off a web address.
func nobody(address string) string {
	if !strings.Contains(address, "@") {
		return address
	}
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}

// openSource takes user, password and query, which may be a token, off a model's web address.
func openSource(source string) string {
	if strings.HasPrefix(source, "http:") || strings.HasPrefix(source, "https:") {
		if u, err := url.Parse(source); err == nil {
			u.User, u.RawQuery, u.ForceQuery = nil, "", false
			return u.String()
		}
	}
	return source
}
