package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/migrate"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

type migrateFlags struct {
	end      migrate.EndOptions
	o        migrate.Options
	ssh      string
	page     string
	via      string
	at       registryFlags
	from, to struct{ server, chroma, stop, start string }
}

func newMigrate(a *app) *cobra.Command {
	f := &migrateFlags{}
	c := &cobra.Command{
		Use:   "migrate SRC DST",
		Short: "Move a state to another machine as the same mind",
		Long: `Move a state while it is in use: in bulk first, then, with the source stopped, what changed since. The destination
starts with it and must answer as the source did; only then is it handed over, and the source stays stopped. Whatever fails,
both sides are as before. Only what the destination lacks is sent.

SRC and DST are folders here, ssh://[user@]host[:port]/folder, or host:/folder. In an appliance the agent does the rest, and
agi-model.service is stopped and started; elsewhere agibake must be in PATH, and --src-stop and the like say what to do.`,
		Example: "  agibake migrate ssh://agi@old/var/lib/agi-core ssh://agi@new/var/lib/agi-core\n  agibake migrate old:/srv/core /srv/core --no-check",
		Args:    cobra.ExactArgs(2),
		RunE:    func(c *cobra.Command, args []string) error { return a.migrate(c.Context(), f, args[0], args[1]) },
	}
	c.Flags().StringVar(&f.ssh, "ssh", "ssh", "`COMMAND` that reaches machines, such as 'ssh -i key'")
	c.Flags().StringVar(&f.from.server, "src-server", "http://127.0.0.1:8081", "`URL` of the model's server, as SRC sees it")
	c.Flags().StringVar(&f.to.server, "dst-server", "http://127.0.0.1:8081", "`URL` of the model's server, as DST sees it")
	c.Flags().StringVar(&f.from.chroma, "src-chroma", "", "`URL` of a Chroma server, as SRC sees it")
	c.Flags().StringVar(&f.to.chroma, "dst-chroma", "", "`URL` of a Chroma server, as DST sees it")
	c.Flags().StringVar(&f.from.stop, "src-stop", "", "shell `COMMAND` that stops what uses the state at SRC")
	c.Flags().StringVar(&f.from.start, "src-start", "", "shell `COMMAND` that starts it again")
	c.Flags().StringVar(&f.to.stop, "dst-stop", "", "shell `COMMAND` that stops what uses the state at DST")
	c.Flags().StringVar(&f.to.start, "dst-start", "", "shell `COMMAND` that starts it")
	c.Flags().StringArrayVar(&f.end.Exclude, "exclude", nil, "`PATTERN` of what to leave behind; may be repeated")
	c.Flags().IntVar(&f.end.Prefixes, "prefixes", fidelity.DefaultPrefixes, "compare the style at `N` places")
	c.Flags().BoolVar(&f.o.NoCheck, "no-check", false, "hand over without proof that it is the same mind")
	c.Flags().BoolVar(&f.o.Force, "force", false, "also to a machine that lacks the GPU or driver that the model needs")
	c.Flags().BoolVar(&f.o.Keep, "keep-former", false, "keep the state that was at DST")
	c.Flags().StringVar(&f.via, "via", "", "`REF` where the state is captured on its way: "+stateRef)
	f.at.flags(c)
	c.Flags().StringVar(&f.page, "page", "", "`FILE` for the verdict as a page")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// newMigrateEnd is what the other side of an ssh connection runs.
func newMigrateEnd() *cobra.Command {
	return &cobra.Command{
		Use: "migrate-end OPTIONS", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return migrate.End(c.Context(), args[0], os.Stdin, os.Stdout)
		},
	}
}

func (a *app) migrate(ctx context.Context, f *migrateFlags, from, to string) (err error) {
	var peers [2]*migrate.Peer
	var page *atomicfile.File
	if f.page != "" { // before the long work
		if page, err = newPage(f.page); err != nil {
			return err
		}
		defer page.Abort()
	}
	if from == to {
		return fault.Mark(fault.Usage, fmt.Errorf("%s cannot move to itself", from))
	}
	show, done := a.progress()
	defer done()
	for i, text := range []string{from, to} {
		p, err := migrate.ParsePlace(text)
		if err != nil {
			return err
		}
		o := f.end
		side := f.from
		if i == 1 {
			side = f.to
		}
		o.Server, o.Chroma, o.Stop, o.Start = side.server, side.chroma, side.stop, side.start
		if f.o.NoCheck {
			o.Server, o.Chroma = "", ""
		}
		if peers[i], err = migrate.Connect(ctx, p, o, strings.Fields(f.ssh)); err != nil {
			return err
		}
		defer func() {
			if closed := peers[i].Close(); err == nil {
				err = closed
			}
		}()
	}
	f.o.Progress = show
	var src migrate.Source = peers[0]
	if f.via != "" {
		if src, err = a.via(ctx, f, peers[0], show); err != nil {
			return err
		}
	}
	r, err := migrate.Run(ctx, src, peers[1], f.o)
	done()
	if r.Verdict != nil && page != nil {
		if pageErr := errors.Join(fidelity.Page(page, r.Verdict), page.Commit()); err == nil {
			err = pageErr
		}
	}
	if err != nil {
		if r.Verdict != nil && !a.jsonOut {
			_ = fidelity.Text(a.stdout, r.Verdict)
		}
		return err
	}
	if a.jsonOut {
		return a.printJSON(r)
	}
	if r.Verdict != nil {
		if err := fidelity.Text(a.stdout, r.Verdict); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.stdout, "%s has the state of %s now, which stays stopped\n", clean(r.To), clean(r.From))
	a.fact("state", "%s, of which %s were there", size(r.Bytes), size(r.Kept))
	a.fact("sent", "%s, %s of it while all stood still", size(r.Sent), size(r.Delta))
	a.fact("downtime", "%s of %s", r.Downtime.Round(10*time.Millisecond), r.Total.Round(10*time.Millisecond))
	for _, w := range r.Writers {
		fmt.Fprintf(a.stderr, "warning: %s was still writing to the state at %s when all should have been stopped\n", clean(w), clean(r.From))
	}
	if r.Former != "" {
		a.fact("former", "%s", r.Former)
	}
	return nil
}

// via lets the state go by way of a repository, where it stays as snapshots.
func (a *app) via(ctx context.Context, f *migrateFlags, peer *migrate.Peer, show progress.Func) (*migrate.Via, error) {
	m, err := f.at.minds(ctx, f.via, true)
	if err != nil {
		return nil, err
	}
	m.reference = ""
	v := &migrate.Via{Peer: peer, To: m.Repository}
	v.Options = state.Options{Info: state.Info{Name: peer.Name, Note: "on its way", Version: version}, Progress: show, Tags: []string{state.Latest}}
	v.Options.Parent, v.Options.Seal, err = a.sealing(ctx, m, &captureFlags{})
	return v, err
}
