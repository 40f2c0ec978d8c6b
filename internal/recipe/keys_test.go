package recipe

import (
	"reflect"
	"slices"
	"testing"
)

// walk lists the table path of every value that the types allow; keyed says that a struct names it.
func walk(t reflect.Type, path string, keyed bool, visit func(t reflect.Type, path string, keyed bool)) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	visit(t, path, keyed)
	switch t.Kind() {
	case reflect.Slice:
		walk(t.Elem(), path+"[]", false, visit)
	case reflect.Map:
		walk(t.Elem(), path+"{}", false, visit)
	case reflect.Struct:
		for _, f := range fields(t) {
			walk(f.typ, join(path, f.name), true, visit)
		}
	}
}

func TestTableOfKeysFitsTheTypes(t *testing.T) {
	seen := map[string]bool{"": true}
	walk(reflect.TypeFor[Recipe](), "", false, func(typ reflect.Type, path string, keyed bool) {
		seen[path] = true
		k, ok := keys[path]
		if keyed && (!ok || k.doc == "") {
			t.Errorf("%s: no description", path)
		}
		if k.preset != "" {
			d := decoder{places: map[string]Place{}, bad: map[string]bool{}}
			d.preset(reflect.New(typ).Elem(), path) // panics if it does not fit
		}
		if (k.enum != nil || k.pattern != nil || k.lines) && typ.Kind() != reflect.String {
			t.Errorf("%s: a rule for text on a %s", path, typ)
		}
		if k.pattern != nil && k.expects == "" || k.names != nil && k.expects == "" {
			t.Errorf("%s: a pattern without words", path)
		}
		if k.unique != "" && k.unique != "." {
			fieldNamed(typ.Elem(), k.unique)
		}
	})
	var stray []string
	for path := range keys {
		if !seen[path] {
			stray = append(stray, path)
		}
	}
	slices.Sort(stray)
	if len(stray) > 0 {
		t.Errorf("rules for values that no type has: %q", stray)
	}
}
