package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/trust"
)

type checkFlags struct {
	mind               mindFlags
	at                 registryFlags
	keys               keyFlags
	trust              trustFlags
	snapshot, baseline string
	page               string
	frozen             bool
}

func newFidelityCheck(a *app) *cobra.Command {
	f := &checkFlags{}
	c := &cobra.Command{
		Use:   "check --server URL (--snapshot REF | --baseline FILE)",
		Short: "Compare a mind with what was recorded of it",
		Long: `Examine a mind as fidelity record did, and say whether it is the same: exit code 0, or 5 with the reasons. What is
not named is not asked, and the verdict says so. A memory that has only grown is the same mind unless --frozen. Beside a
snapshot in a registry, snapshot and baseline must both be signed by a trusted key.`,
		Example: `  agibake fidelity check --server http://127.0.0.1:8081 \
    --root /var/lib/agi-core --snapshot oci:/mnt/usb/saiga --page verdict.html
  agibake fidelity check --server http://127.0.0.1:8081 \
    --baseline saiga.fidelity.json --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if (f.snapshot == "") == (f.baseline == "") {
				return usage(c, errors.New("nothing says what to compare with: --snapshot REF or --baseline FILE, one of them"))
			}
			if f.baseline != "" && (f.trust.given() || f.keys.given()) {
				return usage(c, errors.New("keys are for a baseline beside a snapshot: --snapshot REF"))
			}
			return a.fidelityCheck(c.Context(), c, f)
		},
	}
	f.mind.flags(c)
	c.Flags().StringVar(&f.snapshot, "snapshot", "", "`REF` of the snapshot beside which a baseline was recorded: "+stateRef)
	c.Flags().StringVar(&f.baseline, "baseline", "", "`FILE` with a baseline instead")
	c.Flags().StringVar(&f.page, "page", "", "`FILE` to write the verdict to as an HTML page, answers side by side")
	c.Flags().BoolVar(&f.frozen, "frozen", false, "a memory that has grown since fails as well")
	f.trust.flags(c)
	f.keys.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// checkReport is what fidelity check --json prints.
type checkReport struct {
	*fidelity.Verdict
	Snapshot digest.Digest  `json:"snapshot,omitempty"`
	Baseline digest.Digest  `json:"baseline,omitempty"` // of its manifest
	Trust    *trust.Verdict `json:"trust"`              // of the snapshot
}

func (a *app) fidelityCheck(ctx context.Context, c *cobra.Command, f *checkFlags) error {
	target, err := f.mind.target(c)
	if err != nil {
		return err
	}
	var r checkReport
	b, err := a.compared(ctx, c, f, &r)
	if err != nil {
		return err
	}
	var page *atomicfile.File
	if f.page != "" { // before the long work
		if page, err = newPage(f.page); err != nil {
			return err
		}
		defer page.Abort()
	}
	show, done := a.progress()
	defer done()
	if r.Verdict, err = fidelity.Check(ctx, target, b, fidelity.Options{Frozen: f.frozen, Patience: f.mind.wait, Progress: byLevel(show)}); err != nil {
		return err
	}
	done()
	if page != nil {
		if err = fidelity.Page(page, r.Verdict); err == nil {
			err = page.Commit()
		}
		if err != nil {
			return err
		}
	}
	if a.jsonOut {
		err = a.printJSON(r)
	} else {
		err = fidelity.Text(a.stdout, r.Verdict)
		a.signers(r.Trust)
	}
	if err != nil {
		return err
	}
	return judged(r.Verdict, f.mind.server)
}

// judged is the verdict as an error, with advice where a server did not even start.
func judged(v *fidelity.Verdict, server string) error {
	err := v.Err()
	for _, l := range v.Levels {
		if l.Name == "start" && l.Status == fidelity.Fail && v.Is.Build == "" {
			return fault.Hint(err, server+" may not be ready: see that the model's server runs there; --wait gives it longer")
		}
	}
	return err
}

// newPage opens the file that the page will be. Its words are the mind's, and for its owner alone.
func newPage(path string) (*atomicfile.File, error) {
	f, err := atomicfile.Create(path)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("--page: %w", err))
	}
	if err := f.Chmod(0o600); err != nil {
		f.Abort()
		return nil, fmt.Errorf("--page: %w", err)
	}
	return f, nil
}

// compared reads the baseline that is named.
func (a *app) compared(ctx context.Context, c *cobra.Command, f *checkFlags, r *checkReport) (*fidelity.Baseline, error) {
	if f.baseline != "" {
		return readBaseline(f.baseline)
	}
	home, err := a.bound(ctx, c, &f.at, &f.keys, &f.trust, f.snapshot, false)
	if err != nil {
		return nil, err
	}
	b, d, err := home.baseline(ctx, func(text string) { fmt.Fprintln(a.stderr, "warning: "+clean(text)) })
	r.Snapshot, r.Baseline, r.Trust = home.x.Index.Digest, d.Digest, home.verdict
	return b, err
}

func readBaseline(path string) (*fidelity.Baseline, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("baseline: %w", err)), "agibake fidelity record -o FILE makes one, where the mind is at home")
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxStored))
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("baseline: %w", err))
	}
	b, err := fidelity.DecodeBaseline(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
