package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// packages solves one set: the essential packages of an archive, and the wanted ones. With required the packages of
// priority required belong to it too, as in a system that dpkg and a person expect. where gives the position of a
// wanted name in the recipe.
func (v *resolver) packages(ctx context.Context, b recipe.Base, wanted []string, required bool, where func(string) string) (*lock.Packages, error) {
	a, err := newArchive(b, v.Keyrings)
	if err != nil {
		return nil, v.at(where(""), err)
	}
	t, err := openApt(ctx, v.Store, a)
	if err != nil {
		return nil, err
	}
	defer t.release()
	if v.Offline && !t.cached() {
		err := fmt.Errorf("package lists of %s %s: %w", a.distribution, a.release, ErrOffline)
		return nil, fault.Hint(err, "run agibake lock once with the network")
	}
	if !v.Offline {
		v.p.Step("resolve", fmt.Sprintf("package lists of %s %s", a.distribution, a.release))
		if err := t.update(ctx); err != nil {
			return nil, err
		}
	}
	targets, err := t.targets(ctx)
	if err != nil {
		return nil, err
	}
	v.p.Step("resolve", fmt.Sprintf("packages of %s %s", a.distribution, a.release))
	x, err := readIndex(targets, required)
	if err != nil {
		return nil, err
	}
	if err := v.known(x, wanted, where); err != nil {
		return nil, err
	}
	return t.pin(ctx, targets, x, wanted)
}

// pin runs the solver and describes its result.
func (t *apt) pin(ctx context.Context, targets []target, x *index, wanted []string) (*lock.Packages, error) {
	names := slices.Concat(x.essential, wanted)
	set, err := t.solve(ctx, names)
	if err != nil {
		return nil, err
	}
	found, err := pinAll(targets, set)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, n := range names {
		asked[n] = true
	}
	list := slices.SortedFunc(maps.Values(found), func(a, b lock.Package) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list {
		list[i].Auto = !asked[list[i].Name]
	}
	archives, err := t.archives(ctx, targets)
	if err != nil {
		return nil, err
	}
	return &lock.Packages{
		Distribution: t.archive.distribution, Release: t.archive.release, Archives: archives, Packages: list,
	}, nil
}

// known checks that every wanted name exists, and names all that do not at once.
func (v *resolver) known(x *index, wanted []string, where func(string) string) error {
	var errs []error
	for _, name := range wanted {
		if x.names[name] {
			continue
		}
		err := fmt.Errorf("no package %q in the archive", name)
		if near := nearest(name, x.names); len(near) > 0 {
			err = fmt.Errorf("%w; near it: %s", err, strings.Join(near, ", "))
		}
		errs = append(errs, v.at(where(name), err))
	}
	return fault.Mark(fault.Input, errors.Join(errs...))
}

// nearest returns up to three names that a person may have meant.
func nearest(name string, names map[string]bool) []string {
	type candidate struct {
		name     string
		distance int
	}
	var list []candidate
	far := 1 + len(name)/4
	for n := range names {
		if d := len(n) - len(name); d > far || -d > far {
			continue
		}
		if d := levenshtein.Distance(name, n, nil); d <= far {
			list = append(list, candidate{n, d})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var near []string
	for _, c := range list[:min(3, len(list))] {
		near = append(near, c.name)
	}
	return near
}

// packagePosition is the path in the recipe of a package of the system.
func (v *resolver) packagePosition(name string) string {
	if i := slices.Index(v.held.Base.Packages, name); i >= 0 {
		return fmt.Sprintf("base.packages[%d]", i)
	}
	if name == v.held.Base.Kernel {
		return "base.kernel"
	}
	return "base"
}

// imagePackages pins the packages of an image that the bake builds.
func (v *resolver) imagePackages(ctx context.Context, where string, c recipe.Container, old *lock.Container) (lock.Container, error) {
	pinned := lock.Container{Name: c.Name, Reference: localReference(c.Name)}
	if old != nil {
		pinned.Packages = old.Packages
		return pinned, nil
	}
	p := c.Image.Packages
	base := recipe.Base{
		Distribution: p.Distribution, Release: p.Release, Mirror: p.Mirror, Snapshot: p.Snapshot,
		Components: p.Components, CheckValidUntil: p.CheckValidUntil,
	}
	wanted := slices.Compact(slices.Sorted(slices.Values(p.Include)))
	set, err := v.packages(ctx, base, wanted, false, func(name string) string {
		return fmt.Sprintf("%s.packages.include[%d]", where, slices.Index(p.Include, name))
	})
	pinned.Packages = set
	return pinned, err
}
