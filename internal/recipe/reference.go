package recipe

import (
	"fmt"
	"reflect"
	"strings"
)

// Reference returns a Markdown table of every key with its type, its default and what it means.
func Reference() string {
	var b strings.Builder
	b.WriteString("| key | value | default | |\n|---|---|---|---|\n")
	rows(&b, reflect.TypeFor[Recipe](), "")
	return b.String()
}

func rows(b *strings.Builder, t reflect.Type, rule string) {
	for _, f := range fields(t) {
		path := join(rule, f.name)
		k := keys[path]
		preset := ""
		switch {
		case k.preset != "":
			preset = "`" + k.preset + "`"
		case k.computed != "":
			preset = k.computed
		case k.required:
			preset = "*required*"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", path, valueWords(f.typ, path), preset, strings.ReplaceAll(k.doc, "|", `\|`))
		descend(b, f.typ, path)
	}
}

func descend(b *strings.Builder, t reflect.Type, path string) {
	switch t.Kind() {
	case reflect.Pointer:
		descend(b, t.Elem(), path)
	case reflect.Slice:
		descend(b, t.Elem(), path+"[]")
	case reflect.Map:
		descend(b, t.Elem(), path+"{}")
	case reflect.Struct:
		rows(b, t, path)
	}
}

// valueWords names the type of a value, or the words it may be.
func valueWords(t reflect.Type, path string) string {
	if enum := keys[path].enum; enum != nil {
		return "`" + strings.Join(enum, "` `") + "`"
	}
	switch {
	case t == sizeType:
		return "size"
	case t.Kind() == reflect.Slice:
		return "list of " + valueWords(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map:
		return "name: " + valueWords(t.Elem(), path+"{}")
	}
	return strings.TrimPrefix(strings.TrimPrefix(kindWords(t), "a "), "whole ")
}
