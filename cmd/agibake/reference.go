package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/registry"
)

// registryFlags are the flags of verbs that speak to registries.
type registryFlags struct {
	ca        string
	plainHTTP bool
}

func (r *registryFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.ca, "ca", "", "`FILE` in PEM with authorities that registries are trusted by, beside the system's")
	c.Flags().BoolVar(&r.plainHTTP, "plain-http", false, "speak http to a registry that has no https; loopback ones may unasked")
}

func (r *registryFlags) repository(ctx context.Context, reference string) (*registry.Repository, error) {
	return registry.Open(ctx, reference, registry.Options{CA: r.ca, PlainHTTP: r.plainHTTP, UserAgent: "agibake/" + version})
}

// place is where an appliance lies.
type place struct {
	store     artifact.Store
	layout    *artifact.Layout     // nil in a registry
	repo      *registry.Repository // nil elsewhere
	appliance *artifact.Appliance
	dir       string // with the disk files beside the layout; "" in a registry
	name      string // what a policy calls the place
}

const refUsage = "a folder that bake or pull wrote, oci:FOLDER[:TAG], or HOST/REPOSITORY[:TAG|@sha256:…]"

// isRegistry tells whether a reference names a registry by its host, as docker reads it.
func isRegistry(reference string) bool {
	host, rest, ok := strings.Cut(reference, "/")
	return ok && rest != "" && host != "" && !strings.HasPrefix(host, ".") && (strings.ContainsAny(host, ".:") || host == "localhost")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// open finds the appliance that a reference means: see refUsage.
func (r *registryFlags) open(ctx context.Context, reference string) (*place, error) {
	if rest, ok := strings.CutPrefix(reference, "oci:"); ok {
		return openLayout(ctx, rest)
	}
	info, err := os.Stat(reference)
	switch {
	case err == nil && info.IsDir():
		return openFolder(ctx, reference)
	case err == nil:
		err = fault.Mark(fault.Input, fmt.Errorf("%s is a file, not an appliance", reference))
		return nil, fault.Hint(err, "name "+refUsage)
	case !errors.Is(err, fs.ErrNotExist) || !isRegistry(reference):
		return nil, fault.Hint(fault.Mark(fault.Input, err), "name "+refUsage)
	}
	repo, err := r.repository(ctx, reference)
	if err != nil {
		return nil, err
	}
	a, err := artifact.OpenAppliance(ctx, repo, repo.Reference())
	if err != nil {
		return nil, err
	}
	return &place{store: repo, repo: repo, appliance: a, name: repo.String()}, nil
}

func openFolder(ctx context.Context, dir string) (*place, error) {
	l, a, err := artifact.OpenFolder(ctx, dir)
	if err != nil {
		return nil, fault.Hint(err, "name "+refUsage)
	}
	name, err := filepath.Abs(dir)
	return &place{store: l, layout: l, appliance: a, dir: dir, name: name}, err
}

func openLayout(ctx context.Context, text string) (*place, error) {
	folder, tag := lock.SplitLayout(text)
	l, err := artifact.OpenLayout(folder)
	if err != nil {
		return nil, err
	}
	p := &place{store: l, layout: l, dir: filepath.Dir(filepath.Clean(folder)), name: "oci:" + folder}
	if tag == "" {
		p.appliance, err = l.OnlyAppliance(ctx)
	} else {
		p.appliance, err = artifact.OpenAppliance(ctx, l, tag)
	}
	if err != nil {
		return nil, fmt.Errorf("oci:%s: %w", text, err)
	}
	l.ProvideDisks(p.appliance, p.dir)
	return p, nil
}
