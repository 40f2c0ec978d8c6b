package recipe

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// Limits on hostile input.
const (
	maxFile  = 1 << 20 // bytes of one recipe file
	maxNodes = 50_000  // values of a recipe, its aliases expanded
	maxDepth = 50      // nesting of values
	maxChain = 16      // files that extend each other
)

// A node is one YAML value with the place it was written at. Unlike yaml.Node it holds no aliases, and values of
// several files may stand side by side.
type node struct {
	kind    yaml.Kind // MappingNode, SequenceNode or ScalarNode
	tag     string    // of a scalar: !!str, !!int, !!float, !!bool, !!null
	text    string    // of a scalar
	plain   bool      // a scalar without quotes: its tag follows from its text
	replace bool      // tagged !replace
	at      Place
	keys    []*node // of a mapping, beside items
	items   []*node
}

// child returns the value of a mapping's key, or nil.
func (n *node) child(key string) *node {
	if n == nil || n.kind != yaml.MappingNode {
		return nil
	}
	for i, k := range n.keys {
		if k.text == key {
			return n.items[i]
		}
	}
	return nil
}

// drop removes a mapping's key.
func (n *node) drop(key string) {
	for i, k := range n.keys {
		if k.text == key {
			n.keys = append(n.keys[:i:i], n.keys[i+1:]...)
			n.items = append(n.items[:i:i], n.items[i+1:]...)
			return
		}
	}
}

func (n *node) null() bool { return n == nil || n.kind == yaml.ScalarNode && n.tag == "!!null" }

// converter turns the nodes of one file into ours.
type converter struct {
	file   string
	faults *Faults
	budget *int
}

func (c *converter) convert(y *yaml.Node, depth int) *node {
	at := Place{c.file, max(y.Line, 1), max(y.Column, 1)}
	*c.budget--
	switch {
	case *c.budget == -1:
		c.faults.add(at, "", "the recipe holds more than %d values once its aliases are expanded", maxNodes)
		return nil
	case *c.budget < 0:
		return nil
	case depth > maxDepth:
		c.faults.add(at, "", "nested more than %d deep", maxDepth)
		*c.budget = -1
		return nil
	}
	if y.Kind == yaml.AliasNode {
		return c.convert(y.Alias, depth+1)
	}
	n := &node{kind: y.Kind, at: at, text: y.Value}
	c.tag(n, y)
	switch y.Kind {
	case yaml.MappingNode:
		c.mapping(n, y, depth)
	case yaml.SequenceNode:
		for _, item := range y.Content {
			if i := c.convert(item, depth+1); i != nil {
				n.items = append(n.items, i)
			}
		}
	}
	return n
}

func (c *converter) tag(n *node, y *yaml.Node) {
	n.plain = y.Kind == yaml.ScalarNode && y.Style&^yaml.TaggedStyle == 0
	n.tag = y.ShortTag()
	switch n.tag {
	case "!replace":
		n.replace = true
		n.tag = "!!str"
		if n.plain {
			n.tag = plainTag(y.Value)
		}
	case "!!timestamp": // YAML 1.2 knows no dates: text
		n.tag = "!!str"
	case "!!merge", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
	default:
		c.faults.add(n.at, "the one tag of a recipe is !replace", "unknown tag %q", n.tag)
		n.tag = "!!str"
	}
}

// plainTag says what an unquoted scalar is.
func plainTag(text string) string {
	tag := (&yaml.Node{Kind: yaml.ScalarNode, Value: text}).ShortTag()
	if tag == "!!timestamp" {
		return "!!str"
	}
	return tag
}

func (c *converter) mapping(n *node, y *yaml.Node, depth int) {
	seen := map[string]*node{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := c.convert(y.Content[i], depth+1), c.convert(y.Content[i+1], depth+1)
		switch {
		case k == nil || v == nil:
		case k.kind != yaml.ScalarNode:
			c.faults.add(k.at, "", "a key must be text")
		case seen[k.text] != nil:
			c.faults.add(k.at, "", "key %q stands twice: first in line %d", k.text, seen[k.text].at.Line)
		default:
			seen[k.text] = k
			n.keys, n.items = append(n.keys, k), append(n.items, v)
		}
	}
}

// merge lays child over parent: mappings merge, lists append, anything else and what is tagged !replace replaces.
// A null in the child leaves the parent's value as it is.
func merge(parent, child *node) *node {
	switch {
	case parent == nil || child.replace:
		return child
	case child.null():
		return parent
	case parent.kind != child.kind || child.kind == yaml.ScalarNode:
		return child
	}
	merged := *child
	if child.kind == yaml.SequenceNode {
		merged.items = append(parent.items[:len(parent.items):len(parent.items)], child.items...)
		return &merged
	}
	merged.keys = append([]*node(nil), parent.keys...)
	merged.items = append([]*node(nil), parent.items...)
	for i, k := range child.keys {
		merged.put(k, child.items[i])
	}
	return &merged
}

func (n *node) put(key, value *node) {
	for i, k := range n.keys {
		if k.text == key.text {
			n.keys[i], n.items[i] = key, merge(n.items[i], value)
			return
		}
	}
	n.keys, n.items = append(n.keys, key), append(n.items, value)
}

// words says what a node is, for a person.
func (n *node) words() string {
	switch {
	case n.kind == yaml.MappingNode:
		return "a mapping"
	case n.kind == yaml.SequenceNode:
		return "a list"
	}
	switch n.tag {
	case "!!int", "!!float":
		return "the number " + n.text
	case "!!bool":
		return "the truth value " + n.text
	case "!!null":
		return "nothing"
	}
	first, _, more := strings.Cut(n.text, "\n")
	if r := []rune(first); len(r) > 40 || more {
		first = string(r[:min(len(r), 40)]) + "…"
	}
	return "the text " + quote(first)
}
