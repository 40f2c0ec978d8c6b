package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/registry"
	"github.com/agibake/agibake/internal/trust"
)

type pullFlags struct {
	at      registryFlags
	trust   trustFlags
	out     string
	formats []string
}

func newPull(a *app) *cobra.Command {
	f := &pullFlags{}
	c := &cobra.Command{
		Use:   "pull REF",
		Short: "Fetch an appliance from a registry, once it is proven",
		Long: `Verify an appliance in a registry and fetch it to DIR/NAME-VERSION/, as bake writes it. Nothing has its final name
before its digest holds; a pull that was cut goes on where it stopped. With --format only those disks are fetched.`,
		Example: "  agibake pull registry.example/agi/demo:1.0.0 --key cosign.pub --format qcow2",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.pull(c.Context(), c, f, args[0]) },
	}
	c.Flags().StringVarP(&f.out, "out", "o", "out", "`FOLDER` that receives NAME-VERSION/")
	c.Flags().StringSliceVar(&f.formats, "format", nil, "`LIST` of the disks to fetch; everything by default")
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// pullReport is what pull --json prints.
type pullReport struct {
	Folder  string         `json:"folder"`
	Got     *registry.Got  `json:"got"`
	Verdict *trust.Verdict `json:"verdict"` // null where verification was skipped
}

func (a *app) pull(ctx context.Context, c *cobra.Command, f *pullFlags, reference string) error {
	policy, err := f.trust.load(c)
	if err != nil {
		return err
	}
	p, err := f.at.openRemote(ctx, reference)
	if err != nil {
		return err
	}
	for _, format := range f.formats {
		if _, ok := p.appliance.Disk(format); !ok {
			return fault.Mark(fault.Input, fmt.Errorf("--format %q: %s %s has only %s", format, p.appliance.Name, p.appliance.Version, strings.Join(diskFormats(p.appliance), ", ")))
		}
	}
	r := pullReport{Folder: filepath.Join(f.out, p.appliance.Name+"-"+p.appliance.Version)}
	if r.Verdict, err = a.judge(ctx, p, policy); err != nil {
		return err
	}
	if r.Got, err = a.fetch(ctx, p, r.Folder, f.formats); err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(r)
	}
	a.warnTag(p)
	for _, file := range r.Got.Files {
		fmt.Fprintln(a.stdout, file)
	}
	fmt.Fprintf(a.stdout, "%s %s of %s\n", p.appliance.Name, p.appliance.Version, p.appliance.Created.Format("2006-01-02"))
	fmt.Fprintf(a.stdout, "  %s\n", p.appliance.Index.Digest)
	a.signers(r.Verdict)
	a.fact("fetched", "%s; %d blobs were there", size(r.Got.Bytes), r.Got.Present)
	if len(p.appliance.Disks) > 0 {
		fmt.Fprintf(a.stdout, "start it:  agibake boot %s\n", r.Folder)
	}
	return nil
}

// openRemote is open for registries only.
func (r *registryFlags) openRemote(ctx context.Context, reference string) (*place, error) {
	if !isRegistry(reference) {
		return nil, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%q names no registry", reference)), "write HOST/REPOSITORY:TAG")
	}
	return r.open(ctx, reference)
}

func diskFormats(a *artifact.Appliance) (list []string) {
	for _, d := range a.Disks {
		list = append(list, d.Format)
	}
	return list
}

// fetch brings an appliance into a folder as bake writes it: all of it, or with formats only those disks. The folder holds
// this appliance or nothing.
func (a *app) fetch(ctx context.Context, p *place, folder string, formats []string) (*registry.Got, error) {
	_, there, err := artifact.OpenFolder(ctx, folder)
	if err == nil && there.Index.Digest != p.appliance.Index.Digest {
		err = fault.Mark(fault.Input, fmt.Errorf("%s holds another appliance, %s", folder, there.Index.Digest))
		return nil, fault.Hint(err, "move it away, or pull to another folder with -o")
	}
	if err != nil && !errors.Is(err, artifact.ErrNotFound) && !errors.Is(err, artifact.ErrNoAppliance) {
		return nil, err
	}
	layout, err := artifact.CreateLayout(filepath.Join(folder, "oci"))
	if err != nil {
		return nil, err
	}
	o := registry.PullOptions{Files: folder, Tag: p.appliance.Version}
	if len(formats) > 0 {
		o.Want = func(d v1.Descriptor) bool {
			return d.ArtifactType == artifact.TypeRecipe || slices.ContainsFunc(formats, func(f string) bool { return d.ArtifactType == artifact.TypeDisk(f) })
		}
	}
	show, done := a.progress()
	got, err := registry.Pull(ctx, p.repo, p.appliance.Index, layout, o, show)
	done()
	if err != nil {
		return nil, err
	}
	if err := layout.NameRootfs(ctx, p.appliance); err != nil {
		return nil, err
	}
	return got, writeSums(p.appliance, folder)
}

// writeSums writes SHA256SUMS for the disks that are in a pulled folder.
func writeSums(a *artifact.Appliance, folder string) error {
	var text strings.Builder
	for _, d := range a.Disks {
		if _, err := os.Lstat(filepath.Join(folder, d.File)); err == nil {
			fmt.Fprintf(&text, "%s  %s\n", d.SHA256, d.File)
		}
	}
	return atomicfile.WriteFile(filepath.Join(folder, "SHA256SUMS"), []byte(text.String()), 0o644)
}
