package recipe

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder fills a Recipe from a tree, by the structs' yaml tags and the table of keys.
type decoder struct {
	vars   variables
	faults Faults
	places map[string]Place // of every value that was written
	bad    map[string]bool  // paths with a fault already
	parent Place            // nearest mapping, for what is missing in it
}

// fault reports a value, once.
func (d *decoder) fault(path string, at Place, hint, format string, args ...any) {
	if !d.bad[path] {
		d.bad[path] = true
		d.faults.add(at, hint, "%s: %s", path, fmt.Sprintf(format, args...))
	}
}

// value decodes n into v. path is where it stands, rule its entry in keys.
func (d *decoder) value(n *node, v reflect.Value, path, rule string) {
	if path != "" {
		d.places[path] = n.at
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		if d.is(n, yaml.MappingNode, path, "a mapping") {
			d.object(n, v, path, rule)
		}
	case reflect.Slice:
		if d.is(n, yaml.SequenceNode, path, "a list") {
			d.list(n, v, path, rule)
		}
	case reflect.Map:
		if d.is(n, yaml.MappingNode, path, "a mapping") {
			d.free(n, v, path, rule)
		}
	default:
		d.scalar(n, v, path, keys[rule])
	}
}

func (d *decoder) is(n *node, kind yaml.Kind, path, words string) bool {
	if n.kind != kind {
		d.fault(path, n.at, "", "expected %s, found %s", words, n.words())
	}
	return n.kind == kind
}

// object decodes the known keys of a struct; n is nil where the mapping is absent and only presets apply.
func (d *decoder) object(n *node, v reflect.Value, path, rule string) {
	outer := d.parent
	if n != nil {
		d.parent = n.at
		d.unknown(n, v.Type(), path)
	}
	for _, f := range fields(v.Type()) {
		d.member(n.child(f.name), v.FieldByIndex(f.index), join(path, f.name), join(rule, f.name))
	}
	d.parent = outer
}

func (d *decoder) member(n *node, v reflect.Value, path, rule string) {
	k := keys[rule]
	switch {
	case !n.null():
		d.value(n, v, path, rule)
	case k.preset != "":
		d.preset(v, rule)
	case k.required:
		where, name := "", path
		if i := strings.LastIndexByte(path, '.'); i >= 0 {
			where, name = " in "+path[:i], path[i+1:]
		}
		if !d.bad[path] {
			d.bad[path] = true
			d.faults.add(d.parent, "", "missing key %q%s", name, where)
		}
	case v.Kind() == reflect.Struct:
		d.object(nil, v, path, rule)
	}
}

// preset decodes the value of an absent key. The table is ours: a bad entry is caught by the tests.
func (d *decoder) preset(v reflect.Value, rule string) {
	if err := yaml.Unmarshal([]byte(keys[rule].preset), v.Addr().Interface()); err != nil {
		panic(fmt.Sprintf("preset of %s: %v", rule, err))
	}
}

func (d *decoder) unknown(n *node, t reflect.Type, path string) {
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
	}
	for _, k := range n.keys {
		if slices.Contains(names, k.text) {
			continue
		}
		where := ""
		if path != "" {
			where = " in " + path
		}
		d.faults.add(k.at, meant(k.text, names), "unknown key %q%s", k.text, where)
	}
}

func (d *decoder) list(n *node, v reflect.Value, path, rule string) {
	k := keys[rule]
	if k.required && len(n.items) == 0 {
		d.fault(path, n.at, "", "must not be empty")
	}
	if len(n.items) == 0 {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.value(item, v.Index(i), at, rule+"[]")
		if k.unique == "." && !d.bad[at] {
			for j := range i {
				if v.Index(i).Equal(v.Index(j)) {
					d.fault(at, item.at, "", "%s stands twice: first in %s", quote(v.Index(i).String()), n.items[j].at)
					break
				}
			}
		}
	}
	if k.unique != "" && k.unique != "." {
		d.unique(v, path, k.unique)
	}
}

// unique reports items that share the text of a key.
func (d *decoder) unique(v reflect.Value, path, name string) {
	first := map[string]string{}
	for i := range v.Len() {
		at := fmt.Sprintf("%s[%d].%s", path, i, name)
		text := v.Index(i).FieldByIndex(fieldNamed(v.Type().Elem(), name).index).String()
		if before := first[text]; before != "" {
			d.fault(at, d.places[at], "", "two %s of one %s: %s stands in %s already", path, name, quote(text), d.places[before])
		} else if text != "" {
			first[text] = at
		}
	}
}

// free decodes a mapping whose keys the author chooses.
func (d *decoder) free(n *node, v reflect.Value, path, rule string) {
	if len(n.keys) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.keys)))
	names := keys[rule].names
	for i, k := range n.keys {
		at := join(path, k.text)
		if names != nil && !names.MatchString(k.text) {
			d.places[at] = k.at
			d.fault(at, k.at, "", "%s is not %s", quote(k.text), keys[rule].expects)
			d.bad[path] = true
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n.items[i], item, at, rule+"{}")
		v.SetMapIndex(reflect.ValueOf(k.text), item)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
