package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

type importFlags struct {
	captureFlags
	into string
}

func newStateImport(a *app) *cobra.Command {
	f := &importFlags{}
	c := &cobra.Command{
		Use:   "import FILE --to REF | --into FOLDER",
		Short: "Take a state from an archive, also from one made by hand with tar",
		Long: `Make a snapshot of the state in an archive (--to), or put it in FOLDER's place in one step (--into); the former state
is kept then: agibake state restore --undo brings it back. The archive is a tar, plain or compressed with gzip, zstd or xz,
made by state export or by hand, with or without a folder around the state. Lists of sums in it (MD5SUMS, SHA256SUMS) must
hold. Nothing of a damaged or hostile archive is kept.`,
		Example: `  agibake state import agi-state-2026-11-25.tar.gz --to oci:saiga --tag usb
  agibake state import saiga.tar.zst --into /var/lib/agi-core`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if (f.to == "") == (f.into == "") {
				return usage(c, errors.New("name --to, a place for snapshots, or --into, a folder"))
			}
			if f.into != "" {
				return a.importInto(c.Context(), f, args[0])
			}
			return a.importTo(c.Context(), c, f, args[0])
		},
	}
	c.Flags().StringVar(&f.to, "to", "", "`REF` that receives a snapshot: "+stateRef)
	c.Flags().StringVar(&f.into, "into", "", "`FOLDER` that becomes the state")
	c.Flags().StringArrayVar(&f.tags, "tag", nil, "`NAME` for the snapshot; may be repeated")
	c.Flags().StringVar(&f.note, "note", "", "`TEXT` that is kept with it; where it came from by default")
	c.Flags().StringVar(&f.name, "name", "", "`NAME` of the mind; the archive's folder by default")
	f.sealFlags(c)
	f.keys.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// sealFlags say who can read what is sealed.
func (f *captureFlags) sealFlags(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.recipients.Age, "recipient", nil, "`KEY` that can read it: age1…, ssh-ed25519 …, or a file of them; may be repeated")
	c.Flags().StringArrayVar(&f.recipients.GPG, "gpg-recipient", nil, "`KEY` of gpg that can read it: a fingerprint or a mail address; may be repeated")
	c.Flags().BoolVar(&f.passphrase, "seal-passphrase", false, "a passphrase can read it: AGIBAKE_PASSPHRASE, or a prompt")
}

// importReport is what state import --json prints.
type importReport struct {
	Digest   digest.Digest `json:"digest,omitempty"` // of the snapshot
	Tags     []string      `json:"tags,omitempty"`
	Sealed   bool          `json:"sealed"`
	Folder   string        `json:"folder,omitempty"`
	Former   string        `json:"former,omitempty"` // where the state is that was there before
	Top      string        `json:"top"`              // the state's folder in the archive
	Files    int           `json:"files"`
	Bytes    int64         `json:"bytes"`
	Lists    []string      `json:"lists"`    // of sums, that hold
	Unlisted int           `json:"unlisted"` // files that are in none of them
	Outside  []string      `json:"outside"`  // what lies beside the state and is left out
}

func (r *importReport) take(u *state.Unpacked) {
	r.Top, r.Files, r.Bytes, r.Unlisted = u.Top, u.Files, u.Bytes, u.Unlisted
	r.Lists, r.Outside = append([]string{}, u.Lists...), append([]string{}, u.Outside...)
}

// unpack takes an archive apart below staging.
func (a *app) unpack(ctx context.Context, file, staging string, show progress.Func) (*state.Unpacked, error) {
	u, err := state.Unpack(ctx, file, filepath.Join(staging, "tree"), show)
	if err != nil {
		return nil, err
	}
	if n := len(u.Outside); n > 0 {
		show.Warn("import", fmt.Sprintf("left out, for it lies beside the state %s: %s", clean(u.Top), clean(strings.Join(u.Outside[:min(n, 5)], ", "))))
	}
	if len(u.Lists) > 0 && u.Unlisted > 0 {
		show.Warn("import", fmt.Sprintf("%d files are in no list of sums", u.Unlisted))
	}
	return u, nil
}

func (a *app) importInto(ctx context.Context, f *importFlags, file string) error {
	root, err := filepath.Abs(f.into)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(root), 0o755)
	}
	if err != nil {
		return err
	}
	staging := state.ImportStaging(root)
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
	show.Step("import", "to the disk")
	if err := errors.Join(u.Sync(), context.Cause(ctx)); err != nil {
		return err
	}
	r := importReport{Folder: f.into}
	r.take(u)
	if r.Former, err = state.Switch(u.Root, root, time.Now()); err != nil {
		return err
	}
	done()
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "the state in %s is imported to %s\n", clean(file), f.into)
	a.imported(r)
	if r.Former != "" {
		a.fact("former", "%s", r.Former)
		fmt.Fprintf(a.stdout, "bring it back:  agibake state restore --undo --to %s\nremove it:      agibake state restore --accept --to %s\n", f.into, f.into)
	}
	return nil
}

func (a *app) imported(r importReport) {
	a.fact("state", "%s in %d files", size(r.Bytes), r.Files)
	if len(r.Lists) > 0 {
		a.fact("sums hold", "%s", strings.Join(r.Lists, ", "))
	} else {
		a.fact("sums", "none in the archive: nothing proves that it is whole")
	}
}
