package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/migrate"
	"github.com/agibake/agibake/internal/seal"
	"github.com/agibake/agibake/internal/state"
)

type captureFlags struct {
	at         registryFlags
	keys       keyFlags
	to         string
	tags       []string
	note, name string
	exclude    []string
	recipients seal.Recipients
	passphrase bool
	docker     string
	ssh        string
	cuda       string
}

func newStateCapture(a *app) *cobra.Command {
	f := &captureFlags{}
	c := &cobra.Command{
		Use:   "capture FOLDER --to REF",
		Short: "Take a snapshot of a state",
		Long: `Take a snapshot of a state folder while it is in use: what writes there stands still for the moment in which changed
files are copied, and goes on. Unchanged files are neither read nor stored again. The snapshot is called by its time and
"latest". FOLDER may be on another machine, ssh://[user@]host[:port]/folder, where an appliance's agent or agibake does
the reading. With --recipient, --gpg-recipient or --seal-passphrase only those can read it.`,
		Example: "  agibake state capture /var/lib/agi-core --to oci:/mnt/usb/saiga --tag friday\n  agibake state capture core --to registry.example/agi/saiga --recipient age1…",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.to == "" {
				return usage(c, errors.New("--to is missing: "+stateRef))
			}
			return a.stateCapture(c.Context(), c, f, args[0])
		},
	}
	c.Flags().StringVar(&f.to, "to", "", "`REF` that receives the snapshot: "+stateRef)
	c.Flags().StringArrayVar(&f.tags, "tag", nil, "`NAME` for the snapshot; may be repeated")
	c.Flags().StringVar(&f.note, "note", "", "`TEXT` that is kept with it")
	c.Flags().StringVar(&f.name, "name", "", "`NAME` of the mind; the folder's by default")
	c.Flags().StringArrayVar(&f.exclude, "exclude", nil, "`PATTERN` of paths, or of names, to leave out; may be repeated")
	c.Flags().StringArrayVar(&f.recipients.Age, "recipient", nil, "`KEY` that can read it: age1…, ssh-ed25519 …, or a file of them; may be repeated")
	c.Flags().StringArrayVar(&f.recipients.GPG, "gpg-recipient", nil, "`KEY` of gpg that can read it: a fingerprint or a mail address; may be repeated")
	c.Flags().BoolVar(&f.passphrase, "seal-passphrase", false, "a passphrase can read it: AGIBAKE_PASSPHRASE, or a prompt")
	c.Flags().StringVar(&f.docker, "docker", "", "`PROGRAM` that pauses containers; docker if it answers, none leaves them alone")
	c.Flags().StringVar(&f.cuda, "needs-cuda", "", "`VERSION` that the model needs, such as 12.4; an appliance's agent knows its own")
	c.Flags().StringVar(&f.ssh, "ssh", "ssh", "`COMMAND` that reaches machines, such as 'ssh -i key'")
	f.keys.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

var plainTag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// captureReport is what state capture --json prints.
type captureReport struct {
	Digest digest.Digest `json:"digest"`
	Tags   []string      `json:"tags"`
	Info   state.Info    `json:"info"`
	Sealed bool          `json:"sealed"`
	Read   int64         `json:"read"`  // bytes of files
	Added  int64         `json:"added"` // bytes of blobs
}

func (a *app) stateCapture(ctx context.Context, c *cobra.Command, f *captureFlags, root string) error {
	m, err := f.at.minds(ctx, f.to, true)
	if err != nil {
		return err
	}
	o, free, err := a.captureOptions(ctx, c, m, f)
	if err != nil {
		return err
	}
	defer free()
	place, err := migrate.ParsePlace(root)
	if err != nil {
		return err
	}
	if o.Info.Name == "" {
		o.Info.Name = filepath.Base(place.Path)
	}
	show, done := a.progress()
	defer done()
	o.Progress = show
	got, err := f.capture(ctx, place, m.Repository, o)
	if err != nil {
		return err
	}
	done()
	return a.captured(m, o, got)
}

// captureOptions are those of a snapshot that m gets: what it is called, what it builds upon, who can read it. Until free is
// called nothing that it builds upon is pruned.
func (a *app) captureOptions(ctx context.Context, c *cobra.Command, m *minds, f *captureFlags) (o state.Options, free func(), err error) {
	if m.reference != "" {
		f.tags = append(f.tags, m.reference)
		m.reference = ""
	}
	for _, tag := range f.tags {
		if !plainTag.MatchString(tag) {
			return o, nil, usage(c, fmt.Errorf("--tag %q: letters, digits, '.', '_' and '-' make a tag", tag))
		}
	}
	free = func() {}
	if m.layout != nil {
		if free, err = m.layout.Use(ctx); err != nil {
			return o, nil, err
		}
	}
	o.Info = state.Info{Name: f.name, Note: f.note, Exclude: f.exclude, Version: version, Created: state.Moment(ctx, m, time.Now())}
	if f.cuda != "" {
		o.Info.Needs = &state.Needs{GPU: true, CUDA: f.cuda}
	}
	if o.Parent, o.Seal, err = a.sealing(ctx, m, f); err != nil {
		free()
		return o, nil, err
	}
	o.Tags = append(f.tags, state.TimeTag(o.Info.Created), state.Latest)
	return o, free, nil
}

// captured tells what a capture did.
func (a *app) captured(m *minds, o state.Options, got *state.Captured) error {
	if a.jsonOut {
		return a.printJSON(captureReport{got.Index.Digest, o.Tags, got.Info, o.Seal != nil, got.Read, got.Added})
	}
	fmt.Fprintf(a.stdout, "%s is captured in %s as %s\n", got.Info.Name, m.name, o.Tags[len(o.Tags)-2])
	fmt.Fprintf(a.stdout, "  %s\n", got.Index.Digest)
	a.fact("state", "%s in %d files, %d records", size(got.Info.Bytes), got.Info.Files, got.Info.Records)
	a.fact("read", "%s", size(got.Read))
	a.fact("added", "%s in %d blobs", size(got.Added), got.Blobs)
	if l := got.Info.Live; l != nil && len(l.Paused) > 0 {
		a.fact("stood still", "%d ms: %d writers", l.FrozenMS, len(l.Paused))
	}
	if o.Seal != nil {
		a.fact("sealed", "%s", o.Seal.Secret.ID()[:16])
	}
	return nil
}

// capture takes the snapshot, here or through the agent of the machine where the state is.
func (f *captureFlags) capture(ctx context.Context, place migrate.Place, to state.Repository, o state.Options) (got *state.Captured, err error) {
	if place.Host != "" {
		peer, err := migrate.Connect(ctx, place, migrate.EndOptions{Exclude: f.exclude}, strings.Fields(f.ssh))
		if err != nil {
			return nil, err
		}
		o.Progress.Step("collect", place.String())
		content, err := peer.Collect(ctx)
		if err == nil {
			o.Info.Needs = content.Needs
			if len(content.Writers) > 0 {
				o.Info.Live = &state.Live{FrozenMS: content.Frozen, Paused: content.Writers}
			}
			got, err = state.CaptureTree(ctx, to, content.Tree, peer.Fetch, o)
		}
		return got, errors.Join(err, peer.Close())
	}
	if o.Memo, err = openMemo(place.Path); err != nil {
		return nil, err
	}
	found, err := state.Collect(ctx, place.Path, state.CollectOptions{Memo: o.Memo, Parent: o.Parent, Docker: f.docker, Progress: o.Progress,
		Scan: state.ScanOptions{Exclude: f.exclude, Skipped: func(path string) {
			o.Progress.Warn("capture", path+" is neither file nor folder, and left out")
		}}})
	if err != nil {
		return nil, err
	}
	defer found.Close()
	o.Info.Live = found.Live
	return state.Capture(ctx, to, found.List, o)
}

// openMemo opens what is remembered of a state folder in the user's cache.
func openMemo(root string) (*state.Memo, error) {
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		if err == nil {
			err = fmt.Errorf("%s is no folder", root)
		}
		return nil, fault.Hint(fault.Mark(fault.Input, err), "name the state root, such as /var/lib/agi-core")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return state.OpenMemo(filepath.Join(dir, "agibake", "state"), root)
}

// sealing finds the snapshot to build upon, and the secret: that of the repository, or a new one for recipients. A sealed
// repository stays sealed, and nothing readable is built upon what is sealed or the other way round.
func (a *app) sealing(ctx context.Context, m *minds, f *captureFlags) (*state.Snapshot, *state.Seal, error) {
	parent, err := a.read(ctx, m, &f.keys)
	if errors.Is(err, artifact.ErrNotFound) {
		parent, err = nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := loadSeal(m)
	if err != nil {
		return nil, nil, err
	}
	if parent != nil && parent.Seal != nil {
		if key != nil && key.Secret.ID() != parent.Seal.Secret.ID() {
			err := fault.Mark(fault.Untrusted, errors.New("the latest snapshot is sealed with another secret than the one kept here"))
			return nil, nil, fault.Hint(err, "somebody else sealed it; capture to another place")
		}
		if key == nil { // whoever can write there could have sealed it with a secret of theirs for our key
			key = parent.Seal
			fmt.Fprintf(a.stderr, "warning: this machine seals with the secret %s from now on, as found in %s; state show tells it where the mind was captured before\n", key.Secret.ID()[:16], clean(m.name))
		}
	}
	if f.passphrase {
		if f.recipients.Passphrase, err = a.passphrase(ctx, "passphrase for the snapshots", true); err != nil {
			return nil, nil, err
		}
	}
	if r := f.recipients; len(r.Age)+len(r.GPG) > 0 || r.Passphrase != "" {
		if key == nil {
			key = &state.Seal{}
			if key.Secret, err = seal.NewSecret(); err != nil {
				return nil, nil, err
			}
		}
		if key.Wraps, err = key.Secret.Wrap(ctx, r); err != nil {
			return nil, nil, err
		}
	}
	if key != nil {
		if err := saveSeal(m, key); err != nil {
			return nil, nil, err
		}
	}
	if parent != nil && (parent.Seal == nil) != (key == nil) {
		parent = nil
	}
	return parent, key, nil
}
