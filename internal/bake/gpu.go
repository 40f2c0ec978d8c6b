package bake

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/tree"
)

// isGPU tells whether a package is of the GPU stack: NVIDIA's driver, modules and libraries are all named so.
func isGPU(name string) bool { return strings.Contains(name, "nvidia") }

// gpuModules are what the modules' packages build as they are installed; dpkg does not list it.
var gpuModules = regexp.MustCompile(`^(usr/)?lib/modules/[^/]+/kernel/nvidia-`)

// gpuStack takes the files of the GPU stack out of a system's tree, into one of their own that lies over the rest: the
// driver changes at other times than the system. Files that hard links join stay together, in the rest.
func gpuStack(t *tree.Tree, set *lock.Packages) (gpu, rest *tree.Tree, err error) {
	wanted := map[string]bool{}
	for _, p := range set.Packages {
		if !isGPU(p.Name) {
			continue
		}
		list, err := installed(t, p)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range list {
			wanted[name] = true
		}
	}
	for _, e := range t.Entries() {
		if gpuModules.MatchString(e.Path) || isGPU(e.Path) && path.Dir(e.Path) == dpkgInfo {
			wanted[e.Path] = true
		}
	}
	for _, e := range t.Entries() {
		if e.Type == tree.Hardlink {
			delete(wanted, e.Path)
			delete(wanted, e.Link)
		}
	}
	gpu, rest = tree.New(), t.Clone()
	for _, e := range t.Entries() {
		if wanted[e.Path] && e.Type != tree.Dir {
			err = errors.Join(err, putWithFolders(gpu, t, e.Path))
			rest.Remove(e.Path)
		}
	}
	return gpu, rest, err
}

const dpkgInfo = "var/lib/dpkg/info"

// installed lists what dpkg installed for a package (dpkg-query(1), NAME.list or NAME:ARCHITECTURE.list).
func installed(t *tree.Tree, p lock.Package) ([]string, error) {
	data, err := t.ReadFile(dpkgInfo + "/" + p.Name + ".list")
	if errors.Is(err, fs.ErrNotExist) {
		data, err = t.ReadFile(dpkgInfo + "/" + p.Name + ":" + p.Architecture + ".list")
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if name := strings.Trim(strings.TrimSpace(line), "/"); name != "" && name != "." {
			real, err := t.Resolve(path.Dir(name)) // lib may be a link to usr/lib
			if err == nil {
				name = path.Join(real, path.Base(name))
			}
			list = append(list, name)
		}
	}
	return list, err
}

// putWithFolders copies an entry and the folders above it.
func putWithFolders(to, from *tree.Tree, name string) (err error) {
	for i, c := range name + "/" {
		if e := from.Lookup(name[:i]); c == '/' && e != nil {
			err = errors.Join(err, to.Put(*e))
		}
	}
	return err
}
