package recipe

import (
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

var sizeType = reflect.TypeFor[Size]()

func (d *decoder) scalar(n *node, v reflect.Value, path string, k key) {
	if n.kind != yaml.ScalarNode {
		d.fault(path, n.at, "", "expected %s, found %s", kindWords(v.Type()), n.words())
		return
	}
	before := len(d.faults)
	text, ok := d.vars.expand(n, &d.faults)
	if !ok {
		d.bad[path] = len(d.faults) > before
		return
	}
	expanded := *n
	expanded.text = text
	if text != n.text && n.plain {
		expanded.tag = plainTag(text)
	}
	d.set(&expanded, v, path, k, text != n.text)
}

// set stores a scalar; replaced says that its text came from variables, which have no quotes to tell 1 from "1".
func (d *decoder) set(n *node, v reflect.Value, path string, k key, replaced bool) {
	wrong := func(hint string) {
		d.fault(path, n.at, hint, "expected %s, found %s", kindWords(v.Type()), n.words())
	}
	y := yaml.Node{Kind: yaml.ScalarNode, Tag: n.tag, Value: n.text}
	switch {
	case v.Type() == sizeType:
		size, err := ParseSize(n.text)
		if err != nil || size == 0 || n.tag != "!!int" && n.tag != "!!str" {
			wrong(sizeHint(n.text))
		}
		v.SetInt(int64(size))
	case v.Kind() == reflect.String:
		if n.tag != "!!str" && !replaced {
			wrong("write " + strconv.Quote(n.text))
			return
		}
		v.SetString(n.text)
		d.text(n, path, k)
	case v.Kind() == reflect.Bool:
		if n.tag != "!!bool" || y.Decode(v.Addr().Interface()) != nil {
			wrong("write true or false")
		}
	case v.Kind() == reflect.Int:
		if n.tag != "!!int" || y.Decode(v.Addr().Interface()) != nil {
			wrong("")
			return
		}
		d.span(n, float64(v.Int()), path, k)
	case v.Kind() == reflect.Float64:
		if n.tag != "!!int" && n.tag != "!!float" || y.Decode(v.Addr().Interface()) != nil || math.IsNaN(v.Float()) {
			wrong("")
			return
		}
		d.span(n, v.Float(), path, k)
	default:
		panic("recipe: no rule for " + v.Type().String())
	}
}

// sizeHint recognises the decimal suffixes that people mean binary ones by.
func sizeHint(s string) string {
	m := regexp.MustCompile(`^([0-9]+) ?([KkMmGgTt])[Bb]?$`).FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	return "write " + m[1] + strings.ToUpper(m[2]) + "iB"
}

func (d *decoder) span(n *node, x float64, path string, k key) {
	if k.span != nil && (x < k.span[0] || x > k.span[1]) {
		d.fault(path, n.at, "", "%s is not between %v and %v", n.text, k.span[0], k.span[1])
	}
}

func (d *decoder) text(n *node, path string, k key) {
	s := n.text
	control := strings.IndexFunc(s, func(r rune) bool {
		return r == 0 || unicode.IsControl(r) && (!k.lines || r != '\n' && r != '\t' && r != '\r')
	})
	switch {
	case control >= 0:
		d.fault(path, n.at, "", "%s holds a control character", n.words())
	case s == "" && k.required:
		d.fault(path, n.at, "", "must not be empty")
	case s == "":
	case k.enum != nil && !slices.Contains(k.enum, s):
		d.fault(path, n.at, meant(s, k.enum), "%s is not one of %s", quote(s), strings.Join(k.enum, ", "))
	case k.pattern != nil && !k.pattern.MatchString(s):
		d.fault(path, n.at, "", "%s is not %s", quote(s), k.expects)
	}
}
