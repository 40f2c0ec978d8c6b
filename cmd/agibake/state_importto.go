package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/state"
)

func (a *app) importTo(ctx context.Context, c *cobra.Command, f *importFlags, file string) error {
	if _, err := os.Stat(file); err != nil { // before the place is made
		return fault.Mark(fault.Input, err)
	}
	m, err := f.at.minds(ctx, f.to, true)
	if err != nil {
		return err
	}
	o, free, err := a.captureOptions(ctx, c, m, &f.captureFlags)
	if err != nil {
		return err
	}
	defer free()
	staging, err := importStaging(m, o.Seal != nil)
	if err != nil {
		return err
	}
	clear, err := state.Stage(staging)
	if err != nil {
		return err
	}
	defer clear()
	show, done := a.progress()
	defer done()
	u, err := a.unpack(ctx, file, staging, show)
	if err != nil {
		return err
	}
	if o.Progress = show; o.Info.Name == "" {
		o.Info.Name = state.TopFolder
		if u.Top != "." {
			o.Info.Name = filepath.Base(u.Top)
		}
	}
	if o.Info.Note == "" {
		o.Info.Note = "imported from " + filepath.Base(file) + ", last changed " + u.Time.UTC().Format("2006-01-02")
	}
	list, err := state.Scan(ctx, u.Root, state.ScanOptions{})
	if err != nil {
		return err
	}
	got, err := state.Capture(ctx, m.Repository, list, o)
	if err != nil {
		return err
	}
	done()
	r := importReport{Digest: got.Index.Digest, Tags: o.Tags, Sealed: o.Seal != nil}
	r.take(u)
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "%s is imported to %s as %s\n  %s\n", clean(o.Info.Name), m.name, o.Tags[len(o.Tags)-2], r.Digest)
	a.imported(r)
	a.fact("added", "%s in %d blobs", size(got.Added), got.Blobs)
	if o.Seal != nil {
		a.fact("sealed", "%s", o.Seal.Secret.ID()[:16])
	}
	return nil
}

// importStaging is where an archive is unpacked for a place: where room is expected, but never readable on a medium that
// is to hold sealed snapshots only.
func importStaging(m *minds, sealed bool) (string, error) {
	if m.layout != nil && !sealed {
		return filepath.Join(strings.TrimPrefix(m.name, "oci:"), ".import"), nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "agibake", "import"), err
}
