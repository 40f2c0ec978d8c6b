package recipe

import (
	"reflect"
	"strings"
)

// field is one key of a struct.
type field struct {
	name      string
	index     []int
	typ       reflect.Type
	omitEmpty bool
}

// fields lists the keys of a struct in the order of the source.
func fields(t reflect.Type) []field {
	var list []field
	for _, f := range reflect.VisibleFields(t) {
		if name, option, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
			list = append(list, field{name, f.Index, f.Type, option == "omitempty"})
		}
	}
	return list
}

func fieldNamed(t reflect.Type, name string) field {
	for _, f := range fields(t) {
		if f.name == name {
			return f
		}
	}
	panic("recipe: " + t.String() + " has no key " + name)
}

// kindWords says what a type wants, for a person.
func kindWords(t reflect.Type) string {
	switch {
	case t == sizeType:
		return "a size such as 512MiB or 16GiB"
	case t.Kind() == reflect.Pointer:
		return kindWords(t.Elem())
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "text"
}
