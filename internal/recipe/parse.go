package recipe

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// Options are what a recipe may draw on besides its files.
type Options struct {
	Set    map[string]string           // values of variables; they win over Getenv
	Getenv func(string) (string, bool) // as os.LookupEnv; nil means no environment
}

// Parse reads the recipe at path and the files it extends. It reports everything that is wrong at once: the error
// then holds Faults, has kind fault.Input, and no recipe is returned.
func Parse(path string, o Options) (*Recipe, error) {
	l := &loader{vars: variables{o.Set, o.Getenv}, budget: maxNodes}
	top, err := l.load(path, nil)
	if err != nil {
		err = fault.Mark(fault.Input, fmt.Errorf("read recipe: %s", reason(path, err)))
		return nil, fault.Hint(err, "agibake init writes a recipe to start from")
	}
	if top == nil {
		return nil, fault.Mark(fault.Input, l.faults.sorted(l.files))
	}
	// Each file's header was checked where it was read.
	d := &decoder{vars: l.vars, faults: l.faults, places: map[string]Place{}, bad: map[string]bool{"apiVersion": true, "kind": true}}
	d.places[""] = top.at
	r := &Recipe{}
	d.object(top, reflect.ValueOf(r).Elem(), "", "")
	r.places = d.places
	d.complete(r)
	d.check(r)
	if len(d.faults) > 0 {
		return nil, fault.Mark(fault.Input, d.faults.sorted(l.files))
	}
	return r, nil
}

// Position returns "file:line:column" of the value at path, such as "base.packages[3]", or of the nearest value
// around it; "" for a recipe that Parse did not return.
func (r *Recipe) Position(path string) string {
	for {
		if p, ok := r.places[path]; ok {
			return p.String()
		}
		if path == "" {
			return ""
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}
