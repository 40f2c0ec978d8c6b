package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/progress"
)

// parallel is how many inputs are fetched at once.
const parallel = 8

// input is one pinned blob and the way to get it.
type input struct {
	title  string // for a person: package htop 3.0.5-7
	digest string
	size   int64
	local  bool // needs no network
	get    func(ctx context.Context, report func(int64)) error
}

// Fetch brings every pinned input of l into the store. What is there already costs a look at its size. Errors are
// ErrGone, ErrChanged, ErrOffline, of kind fault.Untrusted where a digest or size does not hold, or the network's.
func Fetch(ctx context.Context, l *lock.Lock, o Options, p progress.Func) error {
	v := newResolver(o, &l.Recipe, p)
	missing := v.missing(l)
	if o.Offline {
		if err := offline(missing); err != nil {
			return err
		}
	}
	m := &meter{p: p}
	for _, in := range missing {
		m.total += in.size
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, in := range missing {
		g.Go(func() error {
			report, done := m.item(in.title)
			if err := v.get(ctx, in, report); err != nil {
				return fmt.Errorf("%s: %w", in.title, err)
			}
			done(in.size)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(missing) > 0 {
		return o.Store.Sync()
	}
	return nil
}

// get brings one input, from Options.Inputs if that has it.
func (v *resolver) get(ctx context.Context, in input, report func(int64)) error {
	if v.Inputs != nil {
		if ok, err := v.Inputs.Get(ctx, v.Store, in.digest, in.size, report); ok || err != nil {
			return err
		}
	}
	if in.local && v.BaseDir == "" {
		return errElsewhere
	}
	return in.get(ctx, report)
}

func offline(missing []input) error {
	missing = slices.DeleteFunc(slices.Clone(missing), func(in input) bool { return in.local })
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, in := range missing[:min(5, len(missing))] {
		names = append(names, in.title)
	}
	if more := len(missing) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fault.Hint(fmt.Errorf("%s: %w", strings.Join(names, ", "), ErrOffline),
		"bake once with the network, or copy the cache folder of a host that did")
}

// missing lists the inputs that the store lacks, each digest once.
func (v *resolver) missing(l *lock.Lock) []input {
	var list []input
	seen := map[string]bool{}
	add := func(in input) {
		if !seen[in.digest] && !v.Store.Has(in.digest, in.size) {
			seen[in.digest] = true
			list = append(list, in)
		}
	}
	v.eachPackage(&l.System, add)
	for _, c := range l.Containers {
		if c.Packages != nil {
			v.eachPackage(c.Packages, add)
			continue
		}
		v.eachBlob(c, add)
	}
	for i, m := range l.Models {
		add(v.fileInput(fmt.Sprintf("model %s", m.Path), fmt.Sprintf("models[%d].sha256", i), m))
	}
	for _, f := range l.Files {
		add(v.fileInput("file "+f.Path, "files", f))
	}
	return list
}

func (v *resolver) eachPackage(set *lock.Packages, add func(input)) {
	for _, p := range set.Packages {
		d := download{url: p.URL, sha256: p.SHA256, size: p.Size, client: v.Client, pause: v.pause}
		add(input{
			title: "package " + p.Name + " " + p.Version, digest: p.SHA256, size: p.Size,
			get: func(ctx context.Context, report func(int64)) error {
				_, _, err := d.into(ctx, v.Store, report)
				return explain(err)
			},
		})
	}
}

// explain adds to the error of a download what a person can do.
func explain(err error) error {
	switch {
	case err == nil, fault.HintOf(err) != "", errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrGone):
		return fault.Hint(fmt.Errorf("%w: %w", ErrGone, err), "the lock no longer answers: agibake lock RECIPE --update")
	case fault.KindOf(err) == fault.Untrusted:
		return fault.Hint(err, "what the server sends is not what was locked; if that is intended: agibake lock RECIPE --update")
	}
	return fault.Hint(err, "check the network; the next run goes on from what has come")
}

// meter adds up the bytes of all inputs under way.
type meter struct {
	p     progress.Func
	total int64
	mu    sync.Mutex
	done  int64
	sent  time.Time
}

// item returns what counts one input: report sets its bytes so far, done its final number.
func (m *meter) item(title string) (report, done func(int64)) {
	var last int64
	count := func(n int64, always bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.done += n - last
		last = n
		// A display needs no more than ten events a second.
		if now := time.Now(); always || now.Sub(m.sent) > 100*time.Millisecond {
			m.sent = now
			m.p.Count("fetch", title, m.done, m.total)
		}
	}
	return func(n int64) { count(n, false) }, func(n int64) { count(n, true) }
}
