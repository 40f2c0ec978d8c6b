package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/inspect"
)

func newInspect(a *app) *cobra.Command {
	var o inspect.Options
	var at registryFlags
	packages := false
	c := &cobra.Command{
		Use:   "inspect IMAGE|DIR|REF",
		Short: "Say what is inside a disk image, a folder or an appliance",
		Long: "Say what is inside a disk image (raw, qcow2, VMDK, OVA; ours or foreign) or a folder that bake wrote:\n" +
			"format, partitions, file systems, operating system, packages, OVF facts, and whether digests hold.\n" +
			"Nothing is mounted and nothing is run.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if ref := args[0]; strings.HasPrefix(ref, "oci:") || isRegistry(ref) && !exists(ref) {
				return a.describe(c.Context(), &at, ref)
			}
			report, done := a.progress()
			info, err := os.Stat(args[0])
			if err != nil {
				return fault.Mark(fault.Input, err)
			}
			if info.IsDir() {
				d, err := inspect.Dir(c.Context(), args[0], o, report)
				done()
				return a.show(d, d != nil, err, func() { a.printFolder(d, packages) })
			}
			r, err := inspect.File(c.Context(), args[0], o, report)
			done()
			return a.show(r, r != nil, err, func() { a.printImage(r, packages) })
		},
	}
	c.Flags().BoolVar(&o.SkipDigests, "no-digest", false, "do not read whole files to check their digests")
	c.Flags().BoolVar(&packages, "packages", false, "list the installed packages")
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// describe shows an appliance that is not in a baked folder, by its documents.
func (a *app) describe(ctx context.Context, at *registryFlags, reference string) error {
	p, err := at.open(ctx, reference)
	if err != nil {
		return err
	}
	d, err := inspect.Describe(ctx, p.store, p.appliance)
	return a.show(d, d != nil, err, func() {
		fmt.Fprintln(a.stdout, clean(reference))
		a.printArtifact(d)
	})
}

// show prints a report, also one that comes with an error.
func (a *app) show(report any, there bool, err error, text func()) error {
	if !there {
		return err
	}
	if !a.jsonOut {
		text()
	} else if e := a.printJSON(report); e != nil {
		return e
	}
	return err
}

// fact prints one line of a report.
func (a *app) fact(name, form string, args ...any) {
	fmt.Fprintf(a.stdout, "  %-11s %s\n", name, clean(fmt.Sprintf(form, args...)))
}

// list prints a line of several values, if there are any.
func (a *app) list(name string, values []string) {
	if len(values) > 0 {
		a.fact(name, "%s", strings.Join(values, ", "))
	}
}

func (a *app) heading(form string, args ...any) {
	fmt.Fprintf(a.stdout, "\n%s\n", clean(fmt.Sprintf(form, args...)))
}

func (a *app) printFolder(d *inspect.Folder, packages bool) {
	fmt.Fprintln(a.stdout, clean(d.Path))
	switch {
	case d.OCI != nil:
		a.printArtifact(d.OCI)
	case d.Bake != nil:
		a.fact("appliance", "%s %s", d.Bake.Name, d.Bake.Version)
		a.fact("lock", "%s", d.Bake.LockDigest)
	}
	a.heading("Files")
	for _, f := range d.Files {
		fmt.Fprintf(a.stdout, "  %-48s %10s  %s\n", clean(f.File), size(f.Size), f.State)
	}
	if d.Image != nil {
		fmt.Fprintln(a.stdout)
		a.printImage(d.Image, packages)
	}
}

func (a *app) printArtifact(d *inspect.Artifact) {
	a.fact("appliance", "%s %s of %s", d.Name, d.Version, d.Created.Format(time.DateTime+" UTC"))
	fmt.Fprintf(a.stdout, "  %s\n", d.Digest)
	a.fact("lock", "%s", d.LockDigest)
	a.fact("machine", "%d processors, %s, %s", d.Machine.CPUs, size(d.Machine.Memory), strings.Join(d.Machine.Firmware, ", "))
	a.heading("Rootfs image")
	fmt.Fprintf(a.stdout, "  %s\n", d.Rootfs)
	for _, l := range d.Layers {
		fmt.Fprintf(a.stdout, "  %-16s %10s  %.19s…\n", clean(l.Comment), size(l.Size), l.Digest)
	}
	a.heading("Disks")
	for _, k := range d.Disks {
		fmt.Fprintf(a.stdout, "  %-32s %10s  sha256:%.12s… in %d\n", k.File, size(k.Size), k.SHA256, k.Parts)
	}
	if len(d.Attached) > 0 {
		a.heading("Attached; agibake verify says whose they are")
	}
	for _, t := range d.Attached {
		fmt.Fprintf(a.stdout, "  %-32s %.19s…\n", clean(t.Kind), t.Digest)
	}
}

func (a *app) printImage(r *inspect.Report, packages bool) {
	fmt.Fprintln(a.stdout, clean(r.Path))
	a.fact("format", "%s", r.Format)
	for _, d := range r.Details {
		a.fact(d.Name, "%s", d.Value)
	}
	a.fact("file", "%s, %d bytes", size(r.Size), r.Size)
	if r.SHA256 != "" {
		a.fact("sha256", "%s", r.SHA256)
	}
	a.fact("disk", "%s, %d bytes", size(r.VirtualSize), r.VirtualSize)
	a.printAppliance(r.Appliance)
	a.printPartitions(r)
	a.printSystem(r.System, packages)
	if len(r.Models) > 0 {
		a.heading("Models")
	}
	for _, m := range r.Models {
		fmt.Fprintf(a.stdout, "  %-60s %10s\n", clean(m.File), size(m.Size))
	}
	if len(r.Problems) > 0 {
		a.heading("Problems")
	}
	for _, p := range r.Problems {
		fmt.Fprintln(a.stdout, "  "+clean(p))
	}
}

func (a *app) printAppliance(o *inspect.Appliance) {
	if o == nil {
		return
	}
	a.heading("OVF")
	s := o.Envelope.System
	a.fact("machine", "%s, %s", s.Name, s.Hardware.Type)
	if s.Product.Product != "" {
		a.fact("product", "%s %s", s.Product.Product, s.Product.Version)
	}
	a.fact("guest", "%s / %s", s.OS.Type, s.OS.VBox)
	for _, i := range s.Hardware.Items {
		text := i.Name
		if i.SubType != "" {
			text += " (" + i.SubType + ")"
		}
		a.fact("device", "%s", text)
	}
	for _, c := range s.Hardware.Config {
		a.fact("setting", "%s = %s", c.Key, c.Value)
	}
	a.fact("manifest", "%s", o.Manifest)
	if len(o.Findings) == 0 {
		a.fact("importers", "every rule of VMware, VirtualBox and Proxmox holds")
	}
	for _, f := range o.Findings {
		a.fact(f.Rule, "%s (%s)", f.Text, strings.Join(f.Hosts, ", "))
	}
	a.heading("Archive")
	for _, f := range o.Files {
		fmt.Fprintf(a.stdout, "  %-60s %10s\n", clean(f.Name), size(f.Size))
	}
}

func (a *app) printPartitions(r *inspect.Report) {
	if len(r.Partitions) == 0 {
		return
	}
	a.heading("Partitions (%s)", strings.TrimSpace(r.Table+" "+r.DiskID))
	for _, p := range r.Partitions {
		name := p.Name
		if name == "" {
			name = "-"
		}
		line := fmt.Sprintf("%3d  %10s  %-12s %-12s", p.Number, size(p.Size), name, p.Type)
		if f := p.FileSystem; f != nil {
			line += " " + f.Type
			if f.Label != "" {
				line += " " + f.Label
			}
			if f.Size > 0 {
				line += ", " + size(f.Free) + " free"
			}
		}
		fmt.Fprintln(a.stdout, strings.TrimRight(clean(line), " "))
		if f := p.FileSystem; f != nil && f.UUID != "" {
			fmt.Fprintf(a.stdout, "%18s UUID=%s\n", "", clean(f.UUID))
		}
	}
}

func (a *app) printSystem(s *inspect.System, packages bool) {
	if s == nil {
		return
	}
	a.heading("System")
	a.fact("release", "%s", s.OS["PRETTY_NAME"])
	a.list("kernel", s.Kernels)
	if s.Hostname != "" {
		a.fact("hostname", "%s", s.Hostname)
	}
	id := s.MachineID
	if id == "" {
		id = "empty: never started"
	}
	a.fact("machine-id", "%s", id)
	if c := s.Agent; c != nil {
		a.fact("appliance", "%s %s", c.Name, c.Version)
		a.fact("lock", "%s", c.LockDigest)
		a.list("containers", c.Containers)
		a.list("models", c.Models)
	}
	if !packages {
		a.fact("packages", "%d; --packages lists them", len(s.Packages))
		return
	}
	a.heading("Packages (%d)", len(s.Packages))
	for _, p := range s.Packages {
		fmt.Fprintf(a.stdout, "  %-36s %-32s %s\n", clean(p.Name), clean(p.Version), clean(p.Architecture))
	}
}
