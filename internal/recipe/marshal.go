package recipe

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// Marshal writes the recipe as one YAML document that Parse reads back to an equal value.
func (r *Recipe) Marshal() ([]byte, error) {
	data, err := yaml.Marshal(encode(reflect.ValueOf(r), escape))
	if err != nil {
		return nil, fmt.Errorf("write recipe: %w", err)
	}
	return data, nil
}

// MarshalYAML writes the recipe as part of another document, which is read without replacing variables. It exists
// because the library's own choice of style loses text that begins with a line break or holds tabs.
func (r Recipe) MarshalYAML() (any, error) {
	return encode(reflect.ValueOf(r), func(s string) string { return s }), nil
}

// encode returns the YAML of v. text rewrites every text.
func encode(v reflect.Value, text func(string) string) *yaml.Node {
	if v.Type() == sizeType {
		return scalarNode("!!str", Size(v.Int()).String())
	}
	switch v.Kind() {
	case reflect.Pointer:
		return encode(v.Elem(), text)
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fields(v.Type()) {
			if member := v.FieldByIndex(f.index); !f.omitEmpty || !empty(member) {
				n.Content = append(n.Content, scalarNode("!!str", f.name), encode(member, text))
			}
		}
		return n
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range slices.Sorted(maps.Keys(byName(v))) {
			n.Content = append(n.Content, scalarNode("!!str", k), encode(v.MapIndex(reflect.ValueOf(k)), text))
		}
		return n
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, encode(v.Index(i), text))
		}
		return n
	case reflect.Bool:
		return scalarNode("!!bool", strconv.FormatBool(v.Bool()))
	case reflect.Int:
		return scalarNode("!!int", strconv.FormatInt(v.Int(), 10))
	case reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		return scalarNode(plainTag(s), s)
	}
	return scalarNode("!!str", text(v.String()))
}

func byName(v reflect.Value) map[string]bool {
	names := map[string]bool{}
	for _, k := range v.MapKeys() {
		names[k.String()] = true
	}
	return names
}

func empty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func scalarNode(tag, s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: s}
	if tag == "!!str" && !tame(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// tame reports whether text may be written without escapes: as a line, or as a block that a person can read.
func tame(s string) bool {
	if s != strings.TrimLeftFunc(s, unicode.IsSpace) || strings.HasSuffix(s, "\n\n") || strings.Contains(s, " \n") {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r != '\n' && r != ' ' && (!unicode.IsGraphic(r) || unicode.IsSpace(r)) }) < 0
}
