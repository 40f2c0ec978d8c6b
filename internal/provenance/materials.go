package provenance

import (
	"strings"

	"github.com/agibake/agibake/internal/lock"
)

// materials are every input of the lock, in its order. Places on the machine that baked are left out.
func materials(l *lock.Lock) []Resource {
	list := packages(nil, &l.System, "")
	for i := range l.Containers {
		c := &l.Containers[i]
		if c.Packages != nil {
			list = packages(list, c.Packages, "container "+c.Name+": ")
			continue
		}
		list = image(list, c)
	}
	for _, m := range l.Models {
		list = append(list, file("models/"+m.Path, m))
	}
	for _, f := range l.Files {
		list = append(list, file(f.Path, f))
	}
	return list
}

// packages adds a set: the signed lists that name its packages, and the packages.
func packages(list []Resource, set *lock.Packages, prefix string) []Resource {
	for _, a := range set.Archives {
		uri := lock.Public(strings.TrimSuffix(a.URL, "/"))
		if uri != "" {
			uri += "/dists/" + a.Suite + "/InRelease"
		}
		list = append(list, Resource{Name: prefix + a.Suite, URI: uri, Digest: sha256(a.SHA256), Annotations: map[string]string{"signedBy": a.SignedBy}})
	}
	for _, p := range set.Packages {
		list = append(list, Resource{Name: prefix + p.Name + "_" + p.Version + "_" + p.Architecture, URI: lock.Public(p.URL), Digest: sha256(p.SHA256)})
	}
	return list
}

// image adds the blobs of a ready image.
func image(list []Resource, c *lock.Container) []Resource {
	uri := ""
	if repository, ok := strings.CutPrefix(c.Source, "registry:"); ok {
		uri = "oci://" + repository
	}
	blobs := append([]*lock.Blob{}, c.Manifest, c.Config)
	for i := range c.Layers {
		blobs = append(blobs, &c.Layers[i])
	}
	for _, b := range blobs {
		if b == nil {
			continue
		}
		hex := strings.TrimPrefix(b.Digest, "sha256:")
		list = append(list, Resource{Name: "container " + c.Name, URI: at(uri, b.Digest), Digest: sha256(hex), MediaType: b.MediaType})
	}
	return list
}

func at(uri, digest string) string {
	if uri == "" {
		return ""
	}
	return uri + "@" + digest
}

func file(path string, f lock.File) Resource {
	return Resource{Name: path, URI: lock.Public(f.Source), Digest: sha256(f.SHA256)}
}
