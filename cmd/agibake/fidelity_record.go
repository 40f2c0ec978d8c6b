package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/sign"
)

type recordFlags struct {
	mind              mindFlags
	at                registryFlags
	keys              keyFlags
	trust             trustFlags
	snapshot, out     string
	prefixes          int
	greeting          string
	questions         []string
	signKey, password string
}

func newFidelityRecord(a *app) *cobra.Command {
	f := &recordFlags{}
	c := &cobra.Command{
		Use:   "record --server URL (--snapshot REF | -o FILE)",
		Short: "Record how a mind answers at home",
		Long: `Examine a mind and keep what was found as a baseline, for fidelity check to compare with: beside a snapshot of
its state, sealed if that is, or in a file. Serve the model with one slot (--parallel 1) while nobody else talks to it: it
is asked everything twice. A baseline holds answers and passages of the memory; keep it as confidential as the state. Of
several beside one snapshot the newest counts.`,
		Example: `  agibake fidelity record --server http://127.0.0.1:8081 \
    --root /var/lib/agi-core --snapshot oci:/mnt/usb/saiga
  agibake fidelity record --server http://127.0.0.1:8081 \
    --root core --chroma http://127.0.0.1:8000 -o saiga.fidelity.json
  agibake fidelity record --server http://127.0.0.1:8081 --root core \
    --snapshot registry.example/agi/saiga --key cosign.pub --sign-key cosign.key`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.valid(); err != nil {
				return usage(c, err)
			}
			return a.fidelityRecord(c.Context(), c, f)
		},
	}
	f.mind.flags(c)
	c.Flags().StringVar(&f.snapshot, "snapshot", "", "`REF` of the snapshot that it belongs to: "+stateRef)
	c.Flags().StringVarP(&f.out, "out", "o", "", "`FILE` to write it to instead")
	c.Flags().IntVar(&f.prefixes, "prefixes", fidelity.DefaultPrefixes, "`N` places where the style is compared, 2000 at most")
	c.Flags().StringVar(&f.greeting, "greeting", "", "`TEXT` of the greeting's question; the state's own by default")
	c.Flags().StringArrayVar(&f.questions, "question", nil, "`TEXT` of a further question; replaces ours; may be repeated")
	c.Flags().StringVar(&f.signKey, "sign-key", "", "`FILE` with the private key that signs it, as registries want it")
	passwordFile(c, &f.password)
	f.trust.flags(c)
	f.keys.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (f *recordFlags) valid() error {
	switch {
	case (f.snapshot == "") == (f.out == ""):
		return errors.New("nothing says where it is kept: --snapshot REF or -o FILE, one of them")
	case f.snapshot == "" && (f.signKey != "" || f.trust.given() || f.keys.given()):
		return errors.New("keys are for a baseline beside a snapshot: --snapshot REF")
	case f.prefixes < 1 || f.prefixes > 2000:
		return fmt.Errorf("--prefixes %d: from 1 to 2000", f.prefixes)
	}
	return nil
}

func (f *trustFlags) given() bool { return len(f.keys) > 0 || f.policy != "" || f.insecure }

func (f *keyFlags) given() bool { return len(f.identities) > 0 || f.passphrase || f.gpg }

// recordReport is what fidelity record --json prints.
type recordReport struct {
	Digest   digest.Digest   `json:"digest,omitempty"`   // of its manifest
	Snapshot digest.Digest   `json:"snapshot,omitempty"` // that it belongs to
	File     string          `json:"file,omitempty"`
	Sealed   bool            `json:"sealed"`
	Signed   string          `json:"signed,omitempty"` // by this key
	Size     int             `json:"size"`             // bytes
	Recorded time.Time       `json:"recorded"`
	Origin   fidelity.Origin `json:"origin"`
	Levels   []string        `json:"levels"`
	Strays   []string        `json:"strays"` // what is not as in the snapshot
}

func (a *app) fidelityRecord(ctx context.Context, c *cobra.Command, f *recordFlags) error {
	target, err := f.mind.target(c)
	if err != nil {
		return err
	}
	home, key, err := a.recordsTo(ctx, c, f) // before the long work
	if err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	b, err := fidelity.Record(ctx, target, fidelity.Options{Prefixes: f.prefixes, Greeting: f.greeting, Questions: f.questions, Patience: f.mind.wait, Progress: byLevel(show)})
	if err != nil {
		return unreachable(err)
	}
	done()
	if home != nil {
		if b.Recorded, err = home.moment(ctx, b.Recorded); err != nil {
			return err
		}
	}
	data, err := b.Encode()
	if err != nil {
		return err
	}
	r := recordReport{File: f.out, Size: len(data), Recorded: b.Recorded, Origin: b.Origin, Levels: levelsOf(b), Strays: []string{}}
	if home == nil {
		err = atomicfile.WriteFile(f.out, data, 0o600) // it holds words of the mind
	} else if r.Strays, err = strays(b, home.x.Tree); err == nil {
		r.Snapshot, r.Sealed = home.x.Index.Digest, home.x.Seal != nil
		d, putErr := home.put(ctx, b, data, key)
		r.Digest, err = d.Digest, putErr
	}
	if err != nil {
		return err
	}
	if key != nil {
		r.Signed = key.String()
	}
	return a.recorded(b, &r, home)
}

// recordsTo finds where the baseline will be kept; nil is a file. What is sealed for a repository stays so: a snapshot that
// is not would be somebody else's.
func (a *app) recordsTo(ctx context.Context, c *cobra.Command, f *recordFlags) (home *bound, key *sign.Key, err error) {
	if f.out != "" {
		if _, err := os.Lstat(f.out); !errors.Is(err, fs.ErrNotExist) {
			err = fault.Mark(fault.Input, fmt.Errorf("%s exists already", f.out))
			return nil, nil, fault.Hint(err, "name another file with -o: a baseline cannot be recorded again once the mind has moved")
		}
		return nil, nil, nil
	}
	if f.signKey != "" {
		if key, err = a.openKey(ctx, f.signKey, f.password); err != nil {
			return nil, nil, err
		}
	}
	if home, err = a.bound(ctx, c, &f.at, &f.keys, &f.trust, f.snapshot, true); err != nil {
		return nil, nil, err
	}
	kept, err := loadSeal(home.m)
	if err == nil && kept != nil && home.x.Seal == nil {
		err = fault.Mark(fault.Untrusted, errors.New("the snapshot is not sealed, but those that this machine makes there are"))
		err = fault.Hint(err, "record with -o FILE, or beside a snapshot of your own")
	}
	return home, key, err
}
