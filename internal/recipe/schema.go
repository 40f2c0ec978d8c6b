package recipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// Schema returns the JSON Schema (draft 2020-12) of a recipe file, made from the same types and table that Parse
// reads by. It allows ${NAME} wherever a value has a form, and asks for no key that an extended file may give.
func Schema() ([]byte, error) {
	top := objectSchema(reflect.TypeFor[Recipe](), "")
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "agibake recipe"
	top["description"] = "A machine that thinks on its own, as its author wants it."
	top["required"] = []string{"apiVersion", "kind"}
	top["if"] = object{"not": object{"required": []string{"extends"}}}
	top["then"] = object{"required": []string{"name", "version"}}
	top["$defs"] = object{"variable": object{
		"type": "string", "pattern": `\$\{[A-Za-z_][A-Za-z0-9_]*\}`,
		"description": "A text with ${NAME}, replaced from --set NAME=VALUE or the environment.",
	}}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(top); err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return buf.Bytes(), nil
}

type object = map[string]any

// typeSchema describes a value of type t at the path rule.
func typeSchema(t reflect.Type, rule string) object {
	k := keys[rule]
	var s object
	switch {
	case t == sizeType:
		s = orVariable(
			object{"type": "integer", "minimum": 1},
			object{"type": "string", "pattern": sizePattern.String()})
	case t.Kind() == reflect.Pointer:
		return typeSchema(t.Elem(), rule)
	case t.Kind() == reflect.Struct:
		s = objectSchema(t, rule)
		if k.one {
			s["minProperties"], s["maxProperties"] = 1, 1
		}
	case t.Kind() == reflect.Slice:
		s = object{"type": "array", "items": typeSchema(t.Elem(), rule+"[]")}
		if k.required {
			s["minItems"] = 1
		}
		if k.unique == "." {
			s["uniqueItems"] = true
		}
	case t.Kind() == reflect.Map:
		s = object{"type": "object", "additionalProperties": typeSchema(t.Elem(), rule+"{}")}
		if k.names != nil {
			s["propertyNames"] = object{"pattern": k.names.String()}
		}
	default:
		s = scalarSchema(t, k)
	}
	if k.doc != "" {
		s["description"] = k.describe()
	}
	if k.preset != "" {
		s["default"] = presetValue(k.preset)
	}
	return s
}

func scalarSchema(t reflect.Type, k key) object {
	switch t.Kind() {
	case reflect.Bool:
		return orVariable(object{"type": "boolean"})
	case reflect.Int, reflect.Float64:
		s := object{"type": "integer"}
		if t.Kind() == reflect.Float64 {
			s["type"] = "number"
		}
		if k.span != nil {
			s["minimum"], s["maximum"] = k.span[0], k.span[1]
		}
		return orVariable(s)
	}
	s := object{"type": "string"}
	switch {
	case k.enum != nil:
		s["enum"] = k.enum
	case k.pattern != nil && k.required:
		s["pattern"] = k.pattern.String()
	case k.pattern != nil: // an empty text is as good as none
		s["pattern"] = "^$|" + k.pattern.String()
	case k.required:
		s["minLength"] = 1
		return s
	default:
		return s
	}
	return orVariable(s)
}

func orVariable(s ...object) object {
	return object{"anyOf": append(s, object{"$ref": "#/$defs/variable"})}
}

func objectSchema(t reflect.Type, rule string) object {
	properties, required := object{}, []string{}
	for _, f := range fields(t) {
		properties[f.name] = typeSchema(f.typ, join(rule, f.name))
		if k := keys[join(rule, f.name)]; k.required && k.preset == "" {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	// What stands in a list is written whole; anything else may be completed by an extended file.
	if strings.Contains(rule, "[]") && len(required) > 0 {
		s["required"] = required
	}
	return s
}

// describe is the documentation of a key with the value it has when absent.
func (k key) describe() string {
	if k.computed != "" {
		return k.doc + " Default: " + k.computed + "."
	}
	return k.doc
}

func presetValue(text string) any {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		panic(fmt.Sprintf("preset %s: %v", text, err))
	}
	return v
}
