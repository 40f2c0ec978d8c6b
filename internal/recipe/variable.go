package recipe

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// variables replaces ${NAME} in text.
type variables struct {
	set    map[string]string
	getenv func(string) (string, bool)
}

// Each piece of text that begins with a dollar sign and means something.
var dollar = regexp.MustCompile(`\$\$|\$\{([^{}$\n]*)\}|\$\{`)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (v variables) lookup(name string) (string, bool) {
	if s, ok := v.set[name]; ok {
		return s, true
	}
	if v.getenv == nil {
		return "", false
	}
	return v.getenv(name)
}

// expand returns a scalar's text with its variables replaced; $$ stands for one dollar sign. It reports each variable
// that cannot be replaced, and false.
func (v variables) expand(n *node, faults *Faults) (string, bool) {
	good := true
	text := dollar.ReplaceAllStringFunc(n.text, func(m string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(m, "${"), "}")
		value, set := v.lookup(name)
		switch {
		case m == "$$":
			return "$"
		case !variableName.MatchString(name):
			faults.add(n.at, `write "$$" for a dollar sign`, "%s is not a variable such as ${NAME}", quote(m))
		case !set:
			faults.add(n.at, v.hint(name, m), "variable %s is not set", name)
		case !utf8.ValidString(value):
			faults.add(n.at, "", "variable %s holds no valid UTF-8", name)
		default:
			return value
		}
		good = false
		return m
	})
	return text, good
}

func (v variables) hint(name, literal string) string {
	names := make([]string, 0, len(v.set))
	for n := range v.set {
		names = append(names, n)
	}
	slices.Sort(names)
	if n := near(name, names); n != "" {
		return "did you mean " + n + "?"
	}
	return "set it with --set " + name + "=VALUE or in the environment, or write $" + literal + " for the text itself"
}

// escape is the reverse of expand.
func escape(text string) string { return strings.ReplaceAll(text, "$", "$$") }
