// Package lock holds the recipe with every input pinned. From here on a bake needs no network and no clock.
package lock

import (
	"time"

	"github.com/agibake/agibake/internal/recipe"
)

// APIVersion is the format of the lock file.
const APIVersion = "agibake/lock/v1"

// Lock is the content of RECIPE.lock. Paths of local sources, those of Recipe among them, are relative to the lock's
// folder or absolute.
type Lock struct {
	APIVersion string        `yaml:"apiVersion"`
	Epoch      int64         `yaml:"epoch"`  // newest date among the archives' Release files, seconds since 1970; the bake's clock
	Recipe     recipe.Recipe `yaml:"recipe"` // as recipe.Parse returned it
	System     Packages      `yaml:"system"`
	Containers []Container   `yaml:"containers,omitempty"` // in the recipe's order, by name
	Models     []File        `yaml:"models,omitempty"`     // Path is relative to models/
	Files      []File        `yaml:"files,omitempty"`      // recipe files that have a source; Path is absolute in the system tree
}

// Packages is one solved set: everything that is installed, nothing else.
type Packages struct {
	Distribution string    `yaml:"distribution"`
	Release      string    `yaml:"release"`
	Archives     []Archive `yaml:"archives"`
	Packages     []Package `yaml:"packages"` // by name
}

// Archive is one suite that the packages came from.
type Archive struct {
	URL        string   `yaml:"url"`
	Suite      string   `yaml:"suite"`
	Components []string `yaml:"components"`
	Date       string   `yaml:"date"`     // the Release file's Date
	SHA256     string   `yaml:"sha256"`   // of the InRelease file
	SignedBy   string   `yaml:"signedBy"` // fingerprint of the key that signed it
}

// Time is the archive's date.
func (a Archive) Time() (time.Time, error) { return time.Parse(time.RFC1123, a.Date) }

// Package is one .deb.
type Package struct {
	Name         string `yaml:"name"`
	Version      string `yaml:"version"`
	Architecture string `yaml:"architecture"`
	URL          string `yaml:"url"`
	Size         int64  `yaml:"size"`
	SHA256       string `yaml:"sha256"`
	Auto         bool   `yaml:"auto,omitempty"` // pulled in by a dependency
}

// Blob is one content-addressed piece of a container image.
type Blob struct {
	MediaType string `yaml:"mediaType"`
	Digest    string `yaml:"digest"` // sha256:…
	Size      int64  `yaml:"size"`
}

// Container is a pinned image: Manifest, Config and Layers of a ready one, or Packages of one that the bake builds.
type Container struct {
	Name      string    `yaml:"name"`
	Reference string    `yaml:"reference"`        // the name docker shows for it
	Source    string    `yaml:"source,omitempty"` // what holds the blobs: registry:REPOSITORY, layout:FOLDER or archive:FILE
	Manifest  *Blob     `yaml:"manifest,omitempty"`
	Config    *Blob     `yaml:"config,omitempty"`
	Layers    []Blob    `yaml:"layers,omitempty"`
	Packages  *Packages `yaml:"packages,omitempty"`
}

// File is a pinned file. Source is http(s)://…, file:PATH, or oci:FOLDER and oci://REPOSITORY for the blob SHA256.
type File struct {
	Name   string `yaml:"name,omitempty"`
	Path   string `yaml:"path"`
	Source string `yaml:"source"`
	Size   int64  `yaml:"size"`
	SHA256 string `yaml:"sha256"`
}
