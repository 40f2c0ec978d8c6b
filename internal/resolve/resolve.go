// Package resolve pins every input of a recipe (packages, images, models, files) and brings the pinned inputs into
// the cache. It is the only part of a bake that uses the network.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/recipe"
)

// Options say where Resolve and Fetch work.
type Options struct {
	Store   *cas.Store
	BaseDir string // the folder of the recipe and its lock; relative sources start there. "" where nobody knows: Fetch then reads no local source
	Offline bool   // use no network
	// Previous is the lock so far, if any: what it pins and still answers the recipe stays as it is. Local sources are
	// looked at in any case, so a file that changed is pinned anew.
	Previous *lock.Lock
	// Inputs is asked for a pinned input before the place that the lock names, unless nil.
	Inputs   Inputs
	Keyrings map[string]string // armored archive keys by distribution, instead of those that agibake ships
	Client   *http.Client      // nil means one with the environment's proxies
	pause    time.Duration     // before the first retry of a download; 0 means half a second
}

// Inputs is another source of pinned inputs: Get brings the one with a SHA-256 (hex) and size into the cache, ok is false
// where it has none.
type Inputs interface {
	Get(ctx context.Context, into *cas.Store, sha256 string, size int64, report func(int64)) (ok bool, err error)
}

// ErrChanged says that a local source is no longer what the lock pinned. Resolve with Previous pins it anew.
var ErrChanged = errors.New("changed since it was locked")

// ErrOffline says that something is missing that only the network has.
var ErrOffline = errors.New("not in the cache, and --offline forbids the network")

// resolver is one run of Resolve or Fetch.
type resolver struct {
	Options
	p    progress.Func
	held *recipe.Recipe

	mu       sync.Mutex // guards logins
	logins   map[string]*http.Client
	archives sync.Mutex // held while an image archive is read again
}

func newResolver(o Options, r *recipe.Recipe, p progress.Func) *resolver {
	if o.Client == nil || o.Client.Transport == nil {
		o.Client = newClient(newTransport())
	}
	return &resolver{Options: o, p: p, held: r}
}

// Resolve pins the inputs of r. With Options.Previous only what that does not answer is resolved. Its error holds
// all that is wrong, in the order of the recipe; the first decides the kind.
func Resolve(ctx context.Context, r *recipe.Recipe, o Options, p progress.Func) (*lock.Lock, error) {
	v := newResolver(o, r, p)
	l := &lock.Lock{APIVersion: lock.APIVersion, Recipe: lock.MapLocal(*r, v.movable)}
	jobs := []job{{run: func(ctx context.Context) error { return v.system(ctx, l) }}}
	for i, c := range r.Containers {
		l.Containers = append(l.Containers, lock.Container{})
		jobs = append(jobs, job{run: func(ctx context.Context) (err error) {
			l.Containers[i], err = v.container(ctx, i, c)
			return err
		}})
	}
	for i, m := range r.Models {
		l.Models = append(l.Models, lock.File{})
		jobs = append(jobs, job{long: !local(m), run: func(ctx context.Context) (err error) {
			l.Models[i], err = v.model(ctx, i, m)
			return err
		}})
	}
	for i, f := range r.Files {
		if f.Source == "" {
			continue
		}
		n := len(l.Files)
		l.Files = append(l.Files, lock.File{})
		jobs = append(jobs, job{run: func(ctx context.Context) (err error) {
			l.Files[n], err = v.file(ctx, i, f)
			return err
		}})
	}
	if err := all(ctx, jobs); err != nil {
		return nil, err
	}
	return l, setEpoch(l)
}

// setEpoch sets the lock's clock: the newest date of the archives it draws from.
func setEpoch(l *lock.Lock) error {
	sets := []*lock.Packages{&l.System}
	for _, c := range l.Containers {
		if c.Packages != nil {
			sets = append(sets, c.Packages)
		}
	}
	for _, s := range sets {
		for _, a := range s.Archives {
			t, err := a.Time()
			if err != nil {
				return err
			}
			l.Epoch = max(l.Epoch, t.Unix())
		}
	}
	return nil
}

func (v *resolver) system(ctx context.Context, l *lock.Lock) error {
	if v.Previous != nil && lock.AnswersSystem(v.Previous, v.held) {
		l.System = v.Previous.System
		return nil
	}
	set, err := v.packages(ctx, v.held.Base, lock.Wanted(v.held), true, v.packagePosition)
	if err != nil {
		return err
	}
	l.System = *set
	return nil
}

func (v *resolver) container(ctx context.Context, i int, c recipe.Container) (lock.Container, error) {
	where := fmt.Sprintf("containers[%d].image", i)
	var old *lock.Container
	if v.Previous != nil {
		old = v.Previous.Container(c.Name, c.Image)
	}
	var pinned lock.Container
	var err error
	switch {
	case c.Image.Packages != nil:
		pinned, err = v.imagePackages(ctx, where, c, old)
	case c.Image.Registry != "":
		pinned, err = v.imageRegistry(ctx, c, old)
	case c.Image.Layout != "":
		pinned, err = v.imageLayout(ctx, c)
	default:
		pinned, err = v.imageArchive(ctx, c)
	}
	if err != nil && c.Image.Packages == nil { // packages name their own places
		return pinned, v.at(where, fmt.Errorf("container %s: %w", c.Name, err))
	}
	return pinned, err
}

// at names the place in the recipe that an error comes from.
func (v *resolver) at(path string, err error) error {
	if pos := v.held.Position(path); err != nil && pos != "" {
		return fmt.Errorf("%s: %w", pos, err)
	}
	return err
}

// local is the file that a source without a scheme means.
func (v *resolver) local(source string) string {
	if filepath.IsAbs(source) {
		return filepath.Clean(source)
	}
	return filepath.Join(v.BaseDir, source)
}

// movable writes a local source relative to the lock, so that both can be moved together. A path that shares
// nothing with the lock's but the root stays absolute.
func (v *resolver) movable(source string) string {
	base, err := filepath.Abs(v.BaseDir)
	if err != nil || !filepath.IsAbs(source) {
		return filepath.Clean(source)
	}
	rel, err := filepath.Rel(base, source)
	if up := strings.Count(rel+"/", "../"); err != nil || up > 0 && up >= strings.Count(base, "/") {
		return filepath.Clean(source)
	}
	return rel
}
