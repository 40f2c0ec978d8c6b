package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/registry"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/trust"
)

func newState(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "state",
		Short: "Capture what an appliance's life wrote, and restore it anywhere",
		Long: `The state is the tree models/ docker/ boot/ logs/ memory/. A snapshot is one capture of it, kept in a registry or in
an OCI layout on disk (oci:FOLDER). Snapshots share what they have in common: a second one adds what changed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newStateCapture(a), newStateRestore(a), newStateLs(a), newStateShow(a), newStateDiff(a), newStateVerify(a), newStateSign(a),
		newStatePush(a), newStatePull(a), newStatePrune(a), newStateExport(a), newStateImport(a), newStateSplit(a), newStateJoin(a))
	return c
}

const stateRef = "oci:FOLDER[:TAG], or HOST/REPOSITORY[:TAG|@sha256:…]"

// minds is where snapshots are kept.
type minds struct {
	state.Repository
	layout    *artifact.Layout     // nil in a registry
	repo      *registry.Repository // nil elsewhere
	reference string               // tag or digest, "" if none was named
	name      string               // what a policy calls the place
}

// minds opens the place that a reference means; create makes a layout that is not there.
func (r *registryFlags) minds(ctx context.Context, reference string, create bool) (*minds, error) {
	if rest, ok := strings.CutPrefix(reference, "oci:"); ok {
		folder, tag := lock.SplitLayout(rest)
		open := artifact.OpenLayout
		if create {
			open = artifact.CreateLayout
		}
		l, err := open(folder)
		if err != nil {
			return nil, fault.Hint(err, "name "+stateRef)
		}
		name, err := filepath.Abs(folder)
		return &minds{Repository: l, layout: l, reference: tag, name: "oci:" + name}, err
	}
	if !isRegistry(reference) {
		err := fault.Mark(fault.Input, fmt.Errorf("%q names no place for snapshots", reference))
		if info, stat := os.Stat(reference); stat == nil && info.IsDir() {
			return nil, fault.Hint(err, "write oci:"+reference)
		}
		return nil, fault.Hint(err, "name "+stateRef)
	}
	repo, err := r.repository(ctx, reference)
	if err != nil {
		return nil, err
	}
	m := &minds{Repository: repo, repo: repo, name: repo.String()}
	if last := reference[strings.LastIndexByte(reference, '/'):]; strings.ContainsAny(last, ":@") {
		m.reference = repo.Reference()
	}
	return m, nil
}

// find returns the descriptor of the snapshot that was named, the latest if none was.
func (m *minds) find(ctx context.Context) (v1.Descriptor, error) {
	reference := m.reference
	if reference == "" {
		reference = state.Latest
	}
	d, err := m.Resolve(ctx, reference)
	if errors.Is(err, artifact.ErrNotFound) {
		err = fault.Hint(err, "agibake state ls "+strings.TrimSuffix(m.name, ":latest")+" shows what is there")
	}
	return d, err
}

// look finds the snapshot that a reference means, and reads no more of it than its index.
func (r *registryFlags) look(ctx context.Context, reference string) (*minds, *state.Snapshot, error) {
	m, err := r.minds(ctx, reference, false)
	if err != nil {
		return nil, nil, err
	}
	d, err := m.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	x, err := state.Look(ctx, m, d)
	return m, x, err
}

// keyFlags say what opens a sealed snapshot.
type keyFlags struct {
	identities []string
	passphrase bool
	gpg        bool
}

func (f *keyFlags) flags(c *cobra.Command) {
	c.Flags().StringArrayVarP(&f.identities, "identity", "i", nil, "`FILE` with an age identity or an ssh key that opens what is sealed; may be repeated")
	c.Flags().BoolVar(&f.passphrase, "passphrase", false, "open what is sealed with a passphrase: AGIBAKE_PASSPHRASE, or a prompt")
	c.Flags().BoolVar(&f.gpg, "gpg", false, "let gpg open what is sealed")
}

// read opens the snapshot that was named, with the keys given or those kept on this machine.
func (a *app) read(ctx context.Context, m *minds, keys *keyFlags) (*state.Snapshot, error) {
	d, err := m.find(ctx)
	if err != nil {
		return nil, err
	}
	return state.Read(ctx, m, d, a.opener(m, keys))
}

// subject is what is signed of a snapshot.
func subject(m *minds, x *state.Snapshot) trust.Subject {
	version := m.reference
	if version == "" || strings.HasPrefix(version, "sha256:") {
		version = state.TimeTag(x.Info.Created)
	}
	return trust.Subject{Index: x.Index, Name: "state", Version: version, Created: x.Info.Created}
}

// judgeState verifies a snapshot: in a registry it must be signed, elsewhere where somebody says by whom.
func (a *app) judgeState(ctx context.Context, c *cobra.Command, m *minds, f *trustFlags, x *state.Snapshot) (*trust.Verdict, error) {
	if m.repo == nil && len(f.keys) == 0 && f.policy == "" {
		return nil, nil
	}
	policy, err := f.load(c)
	if err != nil {
		return nil, err
	}
	if policy == nil {
		fmt.Fprintf(a.stderr, "WARNING: nobody verified the snapshot from %s: it may be anything, made by anyone\n", clean(m.name))
		return nil, nil
	}
	v, err := trust.Verify(ctx, m, subject(m, x), m.name, policy)
	if hint := fault.HintOf(err); strings.HasPrefix(hint, "agibake sign ") {
		err = fault.Hint(err, "agibake state sign signs it, if it is yours; --insecure-skip-verify uses it all the same")
	}
	return v, err
}
