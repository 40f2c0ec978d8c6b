package lock

import (
	"reflect"
	"slices"

	"github.com/agibake/agibake/internal/recipe"
)

// Answers tells whether the inputs pinned in l are those that r asks for: the same base, packages, container images,
// models and sourced files. Everything else may differ; WithRecipe then carries it over. It does not look at local
// sources, so that one moved or changed since is not seen here: resolve.Resolve with the lock as Previous sees it.
func Answers(l *Lock, r *recipe.Recipe) bool {
	a, b := MapLocal(l.Recipe, nowhere), MapLocal(*r, nowhere)
	return AnswersSystem(l, r) &&
		slices.EqualFunc(a.Containers, b.Containers, sameImage) &&
		slices.Equal(a.Models, b.Models) &&
		slices.Equal(sourced(&a), sourced(&b))
}

// AnswersSystem is Answers for the packages of the system alone.
func AnswersSystem(l *Lock, r *recipe.Recipe) bool {
	return reflect.DeepEqual(archive(l.Recipe.Base), archive(r.Base)) && slices.Equal(Wanted(&l.Recipe), Wanted(r))
}

// Wanted returns the names of the packages that a recipe asks for beyond the essential set, sorted.
func Wanted(r *recipe.Recipe) []string {
	names := slices.Concat(r.RequiredPackages(), r.Base.Packages)
	slices.Sort(names)
	return slices.Compact(names)
}

// archive is the part of base that says where packages come from.
func archive(b recipe.Base) recipe.Base {
	b.Kernel, b.Packages = "", nil // both are among the wanted packages
	b.Components = append([]string{}, b.Components...)
	return b
}

func sameImage(a, b recipe.Container) bool { return a.Name == b.Name && SameImage(a.Image, b.Image) }

// SameImage tells whether two recipes mean the same container image, wherever a local one lies.
func SameImage(a, b recipe.Image) bool {
	a, b = mapImage(a, nowhere), mapImage(b, nowhere)
	if a.Packages == nil || b.Packages == nil {
		return a == b
	}
	x, y := *a.Packages, *b.Packages
	// What does not change the packages is the bake's business.
	for _, p := range []*recipe.ImagePackages{&x, &y} {
		p.Entrypoint, p.Env, p.WorkingDir, p.User = nil, nil, "", ""
		p.Components = append([]string{}, p.Components...)
		p.Include = slices.Sorted(slices.Values(p.Include))
	}
	return reflect.DeepEqual(x, y)
}

// sourced lists path and source of the files that come from beside the recipe.
func sourced(r *recipe.Recipe) [][2]string {
	var s [][2]string
	for _, f := range r.Files {
		if f.Source != "" {
			s = append(s, [2]string{f.Path, f.Source})
		}
	}
	return s
}

// Container returns the pinned container of this name if the recipe asked for the same image, or nil.
func (l *Lock) Container(name string, image recipe.Image) *Container {
	for _, c := range l.Recipe.Containers {
		if c.Name != name || !SameImage(c.Image, image) {
			continue
		}
		for i := range l.Containers {
			if l.Containers[i].Name == name {
				return &l.Containers[i]
			}
		}
	}
	return nil
}
