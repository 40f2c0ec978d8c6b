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

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/migrate"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/trust"
)

type restoreFlags struct {
	at     registryFlags
	keys   keyFlags
	trust  trustFlags
	to     string
	paths  []string
	check  string
	undo   bool
	accept bool
	force  bool
	ssh    string
}

func newStateRestore(a *app) *cobra.Command {
	f := &restoreFlags{}
	c := &cobra.Command{
		Use:   "restore REF --to FOLDER",
		Short: "Bring a snapshot back",
		Long: `Restore a snapshot beside FOLDER, hold every byte against its digest, and put it in FOLDER's place in one step. The
former state is kept: --undo brings it back, --accept removes it, and with --check it comes back by itself if that command
fails. A restore that was cut goes on where it stopped. FOLDER may be ssh://[user@]host[:port]/folder: an appliance then
stops, tests itself with the new state, and takes the former one back if that fails. A snapshot in a registry must be signed by a trusted key.`,
		Example: "  agibake state restore oci:/mnt/usb/saiga --to /var/lib/agi-core\n  agibake state restore oci:saiga:friday --to core --path memory/notes.jsonl\n  agibake state restore --undo --to core",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.to == "" {
				return usage(c, errors.New("--to is missing: the folder that becomes the state"))
			}
			if f.undo && f.accept || (f.undo || f.accept) != (len(args) == 0) {
				return usage(c, errors.New("name a snapshot, or --undo, or --accept"))
			}
			if len(args) == 0 {
				return a.stateFormer(f)
			}
			return a.stateRestore(c.Context(), c, f, args[0])
		},
	}
	c.Flags().StringVar(&f.to, "to", "", "`FOLDER` that becomes the state")
	c.Flags().StringArrayVar(&f.paths, "path", nil, "`PATH` in the snapshot; only such are restored; may be repeated")
	c.Flags().StringVar(&f.check, "check", "", "shell `COMMAND` that must succeed with the restored state, in AGI_CORE; the former one comes back if not")
	c.Flags().BoolVar(&f.force, "force", false, "also on a machine that lacks the GPU or driver that the model needs")
	c.Flags().BoolVar(&f.undo, "undo", false, "bring the former state back")
	c.Flags().BoolVar(&f.accept, "accept", false, "remove the former states that are kept")
	c.Flags().StringVar(&f.ssh, "ssh", "ssh", "`COMMAND` that reaches machines, such as 'ssh -i key'")
	f.keys.flags(c)
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// restoreReport is what state restore --json prints.
type restoreReport struct {
	Digest  digest.Digest  `json:"digest"`
	Folder  string         `json:"folder"`
	Former  string         `json:"former,omitempty"` // where the state is that was there before
	Files   int            `json:"files"`
	Bytes   int64          `json:"bytes"`
	Kept    int64          `json:"kept"` // bytes that an earlier attempt had restored
	Verdict *trust.Verdict `json:"verdict"`
}

func (a *app) stateRestore(ctx context.Context, c *cobra.Command, f *restoreFlags, reference string) error {
	m, x, err := f.at.look(ctx, reference)
	if err != nil {
		return err
	}
	r := restoreReport{Digest: x.Index.Digest, Folder: f.to}
	if r.Verdict, err = a.judgeState(ctx, c, m, &f.trust, x); err != nil { // before anything of it is read
		return err
	}
	if x, err = state.Read(ctx, m, x.Index, a.opener(m, &f.keys)); err != nil {
		return err
	}
	place, err := migrate.ParsePlace(f.to)
	if err != nil {
		return err
	}
	if place.Host != "" {
		return a.restoreThere(ctx, f, m, x, place)
	}
	return a.restoreHere(ctx, f, m, x, place.Path, r)
}

// restoreHere restores to a folder of this machine; r tells who signed.
func (a *app) restoreHere(ctx context.Context, f *restoreFlags, m *minds, x *state.Snapshot, root string, r restoreReport) error {
	if !f.force && len(f.paths) == 0 {
		if err := x.Info.Needs.Check(ctx); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	if m.layout != nil { // prune waits
		unlock, err := m.layout.Use(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	show, done := a.progress()
	defer done()
	staging := x.Staging(root)
	got, err := x.Restore(ctx, m, staging, state.RestoreOptions{Only: f.paths, Progress: show})
	if err != nil {
		return err
	}
	done()
	r.Files, r.Bytes, r.Kept = got.Files, got.Bytes, got.Kept
	if len(f.paths) > 0 {
		r.Former, err = state.Place(staging, root, f.paths, time.Now())
	} else {
		r.Former, err = state.Switch(staging, root, time.Now())
	}
	if err != nil {
		return err
	}
	if err := a.checkRestored(ctx, f, root, r.Former); err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "%s of %s is restored to %s\n", clean(x.Info.Name), x.Info.Created.Format("2006-01-02 15:04:05"), f.to)
	fmt.Fprintf(a.stdout, "  %s\n", x.Index.Digest)
	a.signers(r.Verdict)
	a.fact("restored", "%s in %d files", size(r.Bytes), r.Files)
	if r.Kept > 0 {
		a.fact("kept", "%s from an earlier attempt", size(r.Kept))
	}
	if r.Former != "" && f.check == "" {
		a.fact("former", "%s", r.Former)
		if len(f.paths) == 0 {
			fmt.Fprintf(a.stdout, "bring it back:  agibake state restore --undo --to %s\nremove it:      agibake state restore --accept --to %s\n", f.to, f.to)
		}
	}
	return nil
}

// restoreThere lets the agent of another machine restore: it sends what is missing there, stops what uses the state, and
// lets the machine test itself with the new one; the former state comes back if that fails.
func (a *app) restoreThere(ctx context.Context, f *restoreFlags, m *minds, x *state.Snapshot, place migrate.Place) error {
	if len(f.paths) > 0 || f.check != "" {
		return fault.Mark(fault.Usage, errors.New("--path and --check are for a folder on this machine"))
	}
	peer, err := migrate.Connect(ctx, place, migrate.EndOptions{}, strings.Fields(f.ssh))
	if err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	r, err := migrate.Run(ctx, &migrate.Snapshot{Name: m.name, X: x, From: m}, peer, migrate.Options{Keep: true, Force: f.force, Progress: show})
	if err = errors.Join(err, peer.Close()); err != nil {
		return err
	}
	done()
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "%s of %s is restored to %s\n", clean(x.Info.Name), x.Info.Created.Format("2006-01-02 15:04:05"), place)
	fmt.Fprintf(a.stdout, "  %s\n", x.Index.Digest)
	a.fact("sent", "%s of %s", size(r.Sent), size(r.Bytes))
	a.fact("downtime", "%s", r.Downtime.Round(10*time.Millisecond))
	if r.Former != "" {
		a.fact("former", "%s", r.Former)
	}
	return nil
}

// checkRestored runs the command that judges the restored state. The former one comes back if it fails, also by Ctrl-C.
func (a *app) checkRestored(ctx context.Context, f *restoreFlags, root, former string) error {
	if f.check == "" {
		return nil
	}
	err := tool.Run(ctx, tool.Cmd{Name: "/bin/sh", Args: []string{"-c", f.check}, Env: append(os.Environ(), "AGI_CORE="+root), Stdout: a.stderr, Stderr: a.stderr})
	switch {
	case err == nil && former != "":
		return os.RemoveAll(former)
	case err == nil:
		return nil
	case former == "":
		return fault.Hint(fault.Mark(fault.CheckFailed, fmt.Errorf("the check of the restored state failed: %w", err)), "nothing was there before: "+root+" stays as it was restored")
	}
	undone, undoErr := state.Undo(root)
	if undoErr != nil {
		return errors.Join(err, undoErr)
	}
	return fault.Hint(fault.Mark(fault.CheckFailed, fmt.Errorf("the check of the restored state failed, and the former state is back: %w", err)), "the restored one lies in "+undone)
}

// stateFormer brings the former state back, or removes it.
func (a *app) stateFormer(f *restoreFlags) error {
	root, err := filepath.Abs(f.to)
	if err != nil {
		return err
	}
	if f.undo {
		undone, err := state.Undo(root)
		if err == nil {
			fmt.Fprintf(a.stdout, "the former state is back in %s; the other one lies in %s\n", f.to, undone)
		}
		return err
	}
	list, err := state.Formers(root)
	if err != nil {
		return err
	}
	for _, former := range list {
		if err := os.RemoveAll(former); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.stdout, "%d former states are removed\n", len(list))
	return nil
}
