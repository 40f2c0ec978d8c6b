package recipe

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"
)

const rich = head + `
base: {packages: [htop], checkValidUntil: false}
machine: {cpus: 4, memory: 16GiB, disk: 100GiB, systemSize: 12GiB}
access: {users: [{name: agi, sudo: true, groups: [docker], authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA a b"]}]}
gpu: {driver: 580-server-open, cuda: "12.4"}
containers:
  - {name: model, image: {registry: "ghcr.io/o/s:1"}, args: ["--a", "", " b "], env: {A: "1"}, ports: ["127.0.0.1:8081:8081"], mounts: ["models:/models:ro"], gpu: true}
  - {name: b, image: {packages: {distribution: debian, release: testing, include: [llama.cpp-tools], entrypoint: [/x], env: {B: "$$x"}}}, restart: "no"}
models: [{name: m, file: d/m.gguf, source: "https://h/m", sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}]
files: [{path: /a, content: ""}, {path: /b, content: "\n  a\tb\r\n$$ $${A}"}]
units: [{name: x@1.service, content: "[Unit]\n", enable: true}]
shares: [{type: smb, source: //h/s, target: /s, options: ro}]
agent: {modes: {РЕКУРСИЯ: {systemPrompt: "а\nб", temperature: 0.25}}, startup: {greeting: "Кто ты?"}, logs: {ship: [{loki: "http://l:3100"}]}}
selftest: {timeout: 90s, minTokensPerSecond: 0.5, require: []}
outputs: [ova]
`

// FuzzParse holds that no input harms Parse, and that what it accepts survives being written and read again, by
// Marshal and as part of a lock.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"", head, rich, head + "extends: r.yaml\n", head + "base: &a {packages: [*a]}\n", head + "machine: !replace {cpus: ${N}}\n",
		head + "agent: {startup: {greeting: \"\\u0085\\u2028 x\\n\"}}\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "r.yaml")
		o := Options{Set: map[string]string{"N": "1"}}
		if r := reread(t, path, []byte(text), o); r != nil {
			survives(t, r, path, o)
		}
	})
}

// FuzzText does the same for any text in the places that allow line breaks.
func FuzzText(f *testing.F) {
	for _, text := range []string{"", "a\n", "\n  a\n\n", " ", "\t#\n", "$$ ${N} $", "a\r\nb", "\u2028\ufeff", "- a: &b *c !d\n", "|\n", "'\"", "0x10", "~"} {
		f.Add(text)
	}
	const form = head + "files: [{path: /a, content: '${T}'}]\nagent: {startup: {greeting: '${T}'}}\n" +
		"containers: [{name: a, image: {registry: 'a/b:1'}, args: ['${T}', 'x${T}'], env: {A: '${T}'}}]\n"
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "r.yaml")
		o := Options{Set: map[string]string{"T": text}}
		r := reread(t, path, []byte(form), o)
		if r == nil {
			return
		}
		if r.Files[0].Content != text {
			t.Errorf("%q became %q", text, r.Files[0].Content)
		}
		survives(t, r, path, o)
	})
}

func survives(t *testing.T, r *Recipe, path string, o Options) {
	data, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, reread(t, path, data, o), ignorePlaces); diff != "" {
		t.Errorf("%s\n%s", diff, data)
	}
	if data, err = yaml.Marshal(map[string]*Recipe{"recipe": r}); err != nil {
		t.Fatal(err)
	}
	var locked struct{ Recipe Recipe }
	if err := yaml.Unmarshal(data, &locked); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if diff := cmp.Diff(r, &locked.Recipe, ignorePlaces, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("in a lock: %s\n%s", diff, data)
	}
}

func reread(t *testing.T, path string, data []byte, o Options) *Recipe {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Parse(path, o)
	if (err == nil) == (r == nil) || err != nil && err.Error() == "" {
		t.Fatalf("recipe %v with error %v", r, err)
	}
	return r
}
