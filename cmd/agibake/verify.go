package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/inputs"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/resolve"
	"github.com/agibake/agibake/internal/trust"
)

// verifyFlags are those of verify beyond whom to trust.
type verifyFlags struct {
	at             registryFlags
	trust          trustFlags
	full, rebuild  bool
	offline        bool
	inputs, folder string
}

func newVerify(a *app) *cobra.Command {
	f := &verifyFlags{}
	c := &cobra.Command{
		Use:   "verify DIR|REF",
		Short: "Prove who made an appliance and that every byte of it is theirs",
		Long: `Verify the signatures of an appliance with a key or a policy, and that all it consists of is what was signed. What
lies on disk is read whole; in a registry the documents are read, and with --full everything. It fails closed: exit code 4
unless everything holds. Name, version and date are printed, so that an old appliance under a new tag is seen.
With --rebuild it is baked again from the lock that it holds, and compared.`,
		Example: `  agibake verify out/demo-1.0.0 --key cosign.pub
  agibake verify registry.example/agi/demo:1.0.0 --policy policy.yaml --rebuild`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.verify(c.Context(), c, f, args[0]) },
	}
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&f.full, "full", false, "read all that lies in a registry")
	c.Flags().BoolVar(&f.rebuild, "rebuild", false, "bake it again and compare")
	c.Flags().StringVar(&f.inputs, "inputs", "", "`REF` of the appliance whose stored inputs --rebuild takes")
	c.Flags().BoolVar(&f.offline, "offline", false, "--rebuild takes inputs from the cache only")
	c.Flags().StringVar(&f.folder, "work", "", "`FOLDER` for the second bake; a temporary one by default")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// verifyReport is what verify --json prints.
type verifyReport struct {
	Trusted bool `json:"trusted"` // false where verification was skipped
	*trust.Verdict
	Content *artifact.Content `json:"content,omitempty"`
	Rebuild *bake.Comparison  `json:"rebuild,omitempty"`
}

func (a *app) verify(ctx context.Context, c *cobra.Command, f *verifyFlags, reference string) error {
	policy, err := f.trust.load(c)
	if err != nil {
		return err
	}
	p, err := f.at.open(ctx, reference)
	if err != nil {
		return err
	}
	verdict, err := a.judge(ctx, p, policy)
	if err != nil {
		return err
	}
	r := verifyReport{Trusted: verdict != nil, Verdict: verdict}
	if verdict == nil {
		x := p.appliance
		r.Verdict = &trust.Verdict{Repository: p.name, Name: x.Name, Version: x.Version, Created: x.Created, Digest: x.Index.Digest}
	}
	show, done := a.progress()
	if p.layout != nil || f.full {
		if r.Content, err = p.check(ctx, show); err != nil {
			done()
			return fmt.Errorf("verify %s %s: %w", p.appliance.Name, p.appliance.Version, err)
		}
	}
	if f.rebuild {
		r.Rebuild, err = a.rebuild(ctx, f, p, r.Provenance, show)
	}
	done()
	if err != nil {
		return err
	}
	if a.jsonOut {
		err = a.printJSON(r)
	} else {
		a.printVerdict(r, p)
	}
	if err == nil && r.Rebuild != nil && !r.Rebuild.Same {
		err = fault.Mark(fault.Untrusted, fmt.Errorf("%s %s: baked again it is another", p.appliance.Name, p.appliance.Version))
	}
	return err
}

// check reads everything that the place has of the appliance, and of what refers to it.
func (p *place) check(ctx context.Context, show progress.Func) (*artifact.Content, error) {
	blobs, err := trust.Everything(ctx, p.store, p.appliance)
	if err != nil {
		return nil, err
	}
	content, err := artifact.CheckContent(ctx, p.store, blobs, runtime.GOMAXPROCS(0), func(done, total int64) {
		show.Count("verify", p.appliance.Name, done, total)
	})
	if err == nil && p.layout != nil {
		err = p.layout.CheckDisks(ctx, p.appliance, p.dir)
	}
	return content, err
}

// rebuild bakes the appliance again in a folder of its own, which goes away unless it was named.
func (a *app) rebuild(ctx context.Context, f *verifyFlags, p *place, statement []byte, show progress.Func) (*bake.Comparison, error) {
	o := bake.Options{Version: version, Offline: f.offline, Out: f.folder}
	if o.Out == "" {
		dir, err := os.MkdirTemp("", "agibake-rebuild-")
		if err != nil {
			return nil, err
		}
		defer func() { _ = namespace.RemoveAll(context.WithoutCancel(ctx), dir) }() // other users' files may be in it
		o.Out = dir
	}
	from := p
	var err error
	if f.inputs != "" {
		if from, err = f.at.open(ctx, f.inputs); err != nil {
			return nil, err
		}
	}
	if o.Inputs, err = storedInputs(ctx, from, f.inputs != ""); err != nil {
		return nil, err
	}
	return bake.Rebuild(ctx, p.store, p.appliance, statement, o, show)
}

func (a *app) printVerdict(r verifyReport, p *place) {
	fmt.Fprintf(a.stdout, "%s %s of %s\n", r.Name, r.Version, r.Created.Format(time.DateTime+" UTC"))
	fmt.Fprintf(a.stdout, "  %s\n", r.Digest)
	a.signers(r.Verdict)
	a.list("attested", r.Attestations)
	if c := r.Content; c != nil {
		absent := ""
		if c.Absent > 0 {
			absent = fmt.Sprintf("; %d blobs are not here", c.Absent)
		}
		a.fact("content", "%d blobs, %s, every digest holds%s", c.Blobs, size(c.Bytes), absent)
	}
	if p.repo != nil {
		a.warnTag(p)
	}
	c := r.Rebuild
	switch {
	case c == nil:
		return
	case c.Same:
		a.fact("rebuilt", "the same, byte for byte")
		return
	}
	a.fact("rebuilt", "as %s, which is another", c.Ours)
	for _, n := range c.Notes {
		a.fact("note", "%s", n)
	}
	for _, d := range c.Differences {
		fmt.Fprintf(a.stdout, "  %s: %s\n", clean(strings.TrimSuffix(d.Part+": "+d.File, ": ")), clean(d.Detail))
	}
}

// warnTag says so when a tag that looks like a version names another one: a replay looks like that.
func (a *app) warnTag(p *place) {
	if tag := p.repo.Reference(); tag != p.appliance.Version && tag != "latest" && !strings.HasPrefix(tag, "sha256:") {
		fmt.Fprintf(a.stderr, "warning: the tag %s names version %s\n", clean(tag), p.appliance.Version)
	}
}

// storedInputs opens what an appliance was baked from; nil where that was not stored and is not needed.
func storedInputs(ctx context.Context, p *place, needed bool) (resolve.Inputs, error) {
	src, err := inputs.Open(ctx, p.store, inputs.Tag(p.appliance.Index.Digest))
	switch {
	case err == nil:
		return src, nil
	case !needed && errors.Is(err, artifact.ErrNotFound):
		return nil, nil
	}
	return nil, fault.Hint(fmt.Errorf("inputs of %s %s: %w", p.appliance.Name, p.appliance.Version, err), "agibake push --inputs stores them")
}
