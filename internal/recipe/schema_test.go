package recipe_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/recipes"
)

var update = flag.Bool("update", false, "rewrite recipes/schema.json and the table of docs/recipe.md")

const (
	schemaFile    = "../../recipes/schema.json"
	referenceFile = "../../docs/recipe.md"
	begin, end    = "<!-- keys: made by go test ./internal/recipe -update -->\n", "<!-- end of keys -->\n"
)

func TestSchemaIsCurrent(t *testing.T) {
	want, err := recipe.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("recipes/schema.json is stale (%v): go test ./internal/recipe -update", err)
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(got), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("docs/recipe.md has no place for the table")
	}
	want := before + begin + recipe.Reference() + end + after
	if *update {
		err = os.WriteFile(referenceFile, []byte(want), 0o644)
	} else if string(got) != want {
		t.Error("docs/recipe.md is stale: go test ./internal/recipe -update")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := recipe.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json") // also holds it against the meta-schema of its draft
	if err != nil {
		t.Fatal(err)
	}
	if s.DraftVersion != 2020 {
		t.Errorf("draft %d", s.DraftVersion)
	}
	return s
}

func instance(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSchemaAgreesWithParse holds editor and program to one opinion.
func TestSchemaAgreesWithParse(t *testing.T) {
	s := compiled(t)
	const head = "apiVersion: agibake/v1\nkind: Appliance\nname: demo\nversion: 1.0.0\n"
	for text, good := range map[string]bool{
		head:                              true,
		head + "bsae: {}\n":               false,
		head + "machine: {cpus: 4}\n":     true,
		head + "machine: {cpus: x}\n":     false,
		head + "machine: {cpus: 0}\n":     false,
		head + "machine: {disk: 64GiB}\n": true,
		head + "machine: {disk: 64GB}\n":  false,
		head + "outputs: [qcow2, oav]\n":  false,
		head + "outputs: []\n":            false,
		head + "outputs: [raw, raw]\n":    false,
		head + "containers: [{name: a, image: {registry: 'a/b:1'}}]\n":                       true,
		head + "containers: [{name: a}]\n":                                                   false,
		head + "containers: [{name: A, image: {registry: 'a/b:1'}}]\n":                       false,
		head + "containers: [{name: a, image: {}}]\n":                                        false,
		head + "containers: [{name: a, image: {registry: 'a/b:1'}, mounts: ['etc:/etc']}]\n": false,
		head + "containers: [{name: a, image: {registry: 'a/b:1'}, env: {A-B: x}}]\n":        false,
		head + "files: [{path: /a, content: a, mode: 0644}]\n":                               false,
		head + "agent: {modes: {РЕКУРСИЯ: {systemPrompt: x}}}\n":                             true,
		head + "base: {mirror: ''}\n":                                                        true,
		"apiVersion: agibake/v1\nkind: Appliance\n":                                          false,
		"kind: Appliance\nname: demo\nversion: 1.0.0\n":                                      false,
	} {
		path := filepath.Join(t.TempDir(), "r.yaml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := recipe.Parse(path, recipe.Options{}); (err == nil) != good {
			t.Errorf("Parse of %q: %v", text, err)
		}
		if err := s.Validate(instance(t, text)); (err == nil) != good {
			t.Errorf("schema on %q: %v", text, err)
		}
	}
	extended := "apiVersion: agibake/v1\nkind: Appliance\nextends: b.yaml\nmachine: {cpus: \"${N}\"}\nmodels: [{name: a, file: a, source: '${S}', sha256: '${D}'}]\n"
	if err := s.Validate(instance(t, extended)); err != nil {
		t.Errorf("a recipe that extends another, with variables: %v", err)
	}
}

// TestShippedRecipes parses every recipe of the repository and holds it against the schema.
func TestShippedRecipes(t *testing.T) {
	s := compiled(t)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "recipes"), recipes.Files); err != nil {
		t.Fatal(err)
	}
	// A stand-in: what the file holds does not matter here.
	model := filepath.Join(dir, "testdata", "model", "greeter.gguf")
	if err := os.MkdirAll(filepath.Dir(model), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(model, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := recipe.Options{Set: map[string]string{
		"SAIGA_URL": "https://example.org/saiga.gguf", "SAIGA_SHA256": strings.Repeat("0", 64), "MODEL": "file:" + model,
		"SSH_KEY": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA someone",
	}}
	names, err := fs.Glob(recipes.Files, "*.yaml")
	if err != nil || len(names) < 5 {
		t.Fatalf("%d recipes, %v", len(names), err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(recipes.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(data), "# yaml-language-server: $schema=schema.json\n") {
			t.Errorf("%s: does not begin with its schema", name)
		}
		if err := s.Validate(instance(t, string(data))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r, err := recipe.Parse(filepath.Join(dir, "recipes", name), o)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if want := strings.TrimSuffix(name, ".yaml"); r.Name != want && name != recipes.Start {
			t.Errorf("%s: is named %s", name, r.Name)
		}
		if diff := cmp.Diff([]string{"less", "nano"}, r.Base.Packages[len(r.Base.Packages)-2:]); diff != "" {
			t.Errorf("%s: packages of ubuntu-base: %s", name, diff)
		}
	}
}
