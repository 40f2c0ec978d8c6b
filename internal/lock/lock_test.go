package lock

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
)

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

const recipeText = `apiVersion: agibake/v1
kind: Appliance
name: demo
version: "1.10"
base: {distribution: ubuntu, release: jammy, kernel: linux-image-virtual, packages: [htop], checkValidUntil: false}
containers:
  - {name: model, image: {layout: "img:v1"}, env: {A: "yes", B: "0x10"}}
  - {name: web, image: {packages: {distribution: debian, release: testing, include: [b, a], entrypoint: [/b]}}}
models: [{name: m, file: m.gguf, source: "file:m.gguf"}]
files: [{path: /etc/a, source: a.txt}, {path: /etc/motd, content: "hello\n  world: \t#"}]
units: [{name: x.service, content: "[Unit]\n"}]
agent: {modes: {RECURSIA: {systemPrompt: "Кто ты?", temperature: 0}}}
`

func parse(t *testing.T, dir string) *recipe.Recipe {
	t.Helper()
	for name, text := range map[string]string{"r.yaml": recipeText, "m.gguf": "m", "a.txt": "a"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "img"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := recipe.Parse(filepath.Join(dir, "r.yaml"), recipe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sample(t *testing.T, r *recipe.Recipe) *Lock {
	t.Helper()
	set := Packages{
		Distribution: "ubuntu", Release: "jammy",
		Archives: []Archive{{URL: "http://archive.ubuntu.com/ubuntu", Suite: "jammy", Components: []string{"main"},
			Date: "Thu, 21 Apr 2022 17:16:08 UTC", SHA256: hexA, SignedBy: "F6ECB3762474EDA9D21B7022871920D1991BC93C"}},
		Packages: []Package{
			{Name: "bash", Version: "5.1-6ubuntu1.1", Architecture: "amd64", URL: "http://h/p/bash.deb", Size: 10, SHA256: hexA},
			{Name: "g++", Version: "4:1.0~rc1+b1", Architecture: "all", URL: "http://h/p/g++.deb", Size: 20, SHA256: hexB, Auto: true},
		},
	}
	web := set
	return &Lock{
		APIVersion: APIVersion, Epoch: 1650561368, Recipe: *r, System: set,
		Containers: []Container{
			{Name: "model", Reference: "localhost/model:latest", Source: "layout:img", Manifest: &Blob{"application/vnd.oci.image.manifest.v1+json", "sha256:" + hexA, 3},
				Config: &Blob{"application/vnd.oci.image.config.v1+json", "sha256:" + hexB, 4}, Layers: []Blob{{"application/vnd.oci.image.layer.v1.tar", "sha256:" + hexB, 5}}},
			{Name: "web", Reference: "localhost/web:latest", Packages: &web},
		},
		Models: []File{{Name: "m", Path: "m.gguf", Source: "file:m.gguf", Size: 1, SHA256: hexA}},
		Files:  []File{{Path: "/etc/a", Source: "file:a.txt", Size: 1, SHA256: hexB}},
	}
}

func marshal(t *testing.T, l *Lock) string {
	t.Helper()
	b, err := Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRoundTrip(t *testing.T) {
	l := sample(t, parse(t, t.TempDir()))
	text := marshal(t, l)
	again, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(l, again, cmpopts.IgnoreUnexported(recipe.Recipe{}), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if marshal(t, again) != text {
		t.Error("written again it differs")
	}
	if Digest(l) != Digest(again) || len(Digest(l)) != 64 {
		t.Error("the digest differs")
	}
	if !strings.Contains(text, "\n    - {name: bash, version: 5.1-6ubuntu1.1, ") {
		t.Errorf("packages do not stand on lines of their own:\n%s", text)
	}
}

// TestDigestIgnoresFolders locks the same inputs in two folders.
func TestDigestIgnoresFolders(t *testing.T) {
	a, b := sample(t, parse(t, t.TempDir())), sample(t, parse(t, t.TempDir()))
	b.Models[0].Source, b.Files[0].Source, b.Containers[0].Source = "file:/x/m.gguf", "file:../a.txt", "layout:/y"
	if Digest(a) != Digest(b) {
		t.Error("the digest depends on where local sources lie")
	}
	if !Answers(a, &b.Recipe) {
		t.Error("the lock does not answer the recipe in another folder")
	}
	b.Models[0].SHA256 = hexB
	if Digest(a) == Digest(b) {
		t.Error("the digest does not depend on a model's content")
	}
}

func TestAnswers(t *testing.T) {
	off := true
	for _, c := range []struct {
		name   string
		change func(*recipe.Recipe)
		want   bool
	}{
		{"nothing", func(*recipe.Recipe) {}, true},
		{"motd", func(r *recipe.Recipe) { r.Files[1].Content = "x" }, true},
		{"unit", func(r *recipe.Recipe) { r.Units = nil }, true},
		{"agent", func(r *recipe.Recipe) { r.Agent.Listen = ":1" }, true},
		{"memory", func(r *recipe.Recipe) { r.Machine.Memory *= 2 }, true},
		{"environment", func(r *recipe.Recipe) { r.Containers[0].Env = nil }, true},
		{"entrypoint", func(r *recipe.Recipe) { r.Containers[1].Image.Packages.Entrypoint = []string{"/c"} }, true},
		{"order of includes", func(r *recipe.Recipe) { r.Containers[1].Image.Packages.Include = []string{"a", "b"} }, true},
		{"includes", func(r *recipe.Recipe) { r.Containers[1].Image.Packages.Include = []string{"a"} }, false},
		{"package", func(r *recipe.Recipe) { r.Base.Packages = append(r.Base.Packages, "tree") }, false},
		{"kernel", func(r *recipe.Recipe) { r.Base.Kernel = "linux-image-generic" }, false},
		{"release", func(r *recipe.Recipe) { r.Base.Release = "noble" }, false},
		{"expiry", func(r *recipe.Recipe) { r.Base.CheckValidUntil = &off }, false},
		{"tag", func(r *recipe.Recipe) { r.Containers[0].Image.Layout += "2" }, false},
		{"container", func(r *recipe.Recipe) { r.Containers = r.Containers[:1] }, false},
		{"model", func(r *recipe.Recipe) { r.Models[0].Source = "https://h/m" }, false},
		{"file source", func(r *recipe.Recipe) { r.Files[0].Path = "/etc/b" }, false},
		{"firmware", func(r *recipe.Recipe) { r.Machine.Firmware = []string{"bios"} }, false},
	} {
		dir := t.TempDir()
		l, r := sample(t, parse(t, dir)), parse(t, dir)
		c.change(r)
		if got := Answers(l, r); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestWithRecipe(t *testing.T) {
	l := sample(t, parse(t, t.TempDir()))
	r := l.Recipe
	r.Name = "other"
	n := WithRecipe(l, &r)
	if n.Recipe.Name != "other" || l.Recipe.Name != "demo" || Digest(n) == Digest(l) {
		t.Error(n.Recipe.Name, l.Recipe.Name)
	}
}

func TestParseRefuses(t *testing.T) {
	good := marshal(t, sample(t, parse(t, t.TempDir())))
	for _, c := range []struct{ old, new, want string }{
		{"epoch:", "epoche:", "epoche"},
		{"agibake/lock/v1", "agibake/lock/v9", "apiVersion"},
		{hexA, strings.ToUpper(hexA), "malformed"},
		{"size: 10,", "size: -1,", "malformed"},
		{"size: 10,", "size: 99999999999999,", "malformed"},
		{"name: bash,", "name: ../bash,", "malformed"},
		{"name: bash,", "name: g++,", "malformed or named twice"},
		{"url: 'http://h/p/bash.deb'", "url: 'file:///etc/passwd'", "malformed"},
		{"path: m.gguf", "path: ../m.gguf", "inside the tree"},
		{"path: /etc/a\n    source: file:a.txt", "path: /etc/../a\n    source: file:a.txt", "inside the tree"},
		{"digest: sha256:" + hexB, "digest: md5:" + hexB, "malformed"},
		{hexB + "\n      size: 4\n", hexB + "\n      size: 5000000\n", "larger than 4 MiB"},
		{"      version: ", "      versoin: ", ""},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good && c.want != "" {
			t.Errorf("%q is not in the lock:\n%s", c.old, good)
			continue
		}
		if l, err := Parse([]byte(text)); c.want != "" && (err == nil || l != nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s → %s: %v", c.old, c.new, err)
		}
	}
	if _, err := Parse([]byte(good + "---\n{}\n")); err == nil {
		t.Error("a second document goes unnoticed")
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) || fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	os.WriteFile(path, []byte("{}"), 0o644)
	if _, err := Read(path); fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	dir := t.TempDir()
	a, b := sample(t, parse(t, dir)), sample(t, parse(t, dir))
	b.System.Packages = []Package{a.System.Packages[0], {Name: "htop", Version: "3", SHA256: hexA}}
	b.System.Packages[0].Version = "5.2-1"
	b.Containers[0].Manifest = &Blob{Digest: "sha256:" + hexB}
	b.Models[0].SHA256 = hexB
	var got []string
	for _, c := range Diff(a, b) {
		got = append(got, c.String())
	}
	want := []string{
		"container model: image localhost/model:latest aaaaaaaaaaaa → bbbbbbbbbbbb",
		"models: model m.gguf aaaaaaaaaaaa → bbbbbbbbbbbb",
		"system: package bash 5.1-6ubuntu1.1 → 5.2-1",
		"system: package g++ removed (4:1.0~rc1+b1)",
		"system: package htop added (3)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if Diff(a, a) != nil || len(Diff(nil, a)) != 9 {
		t.Error(Diff(nil, a))
	}
	if n, size := Total(a); n != 2 || size != 30 {
		t.Error(n, size)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("apiVersion: agibake/lock/v1\nepoch: 1\n"))
	f.Add([]byte("apiVersion: agibake/lock/v1\nsystem: {packages: [{name: bash, version: 1, architecture: all, url: 'http://h/x', size: 1, sha256: " + hexA + "}]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err != nil {
			if l != nil {
				t.Fatal("a failed parse returns a lock")
			}
			return
		}
		text, err := Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if second, err := Marshal(again); err != nil || string(second) != string(text) {
			t.Fatalf("written again it differs\n%s\n%s", text, second)
		}
	})
}

// TestPortableHoldsNoSecrets: what an appliance carries of its lock has neither places nor passwords nor tokens.
func TestPortableHoldsNoSecrets(t *testing.T) {
	with := func(user, query string) *Lock {
		packages := func() Packages {
			return Packages{Distribution: "ubuntu", Release: "jammy",
				Archives: []Archive{{URL: "https://" + user + "mirror.example/ubuntu", Suite: "jammy"}},
				Packages: []Package{{Name: "a", URL: "https://" + user + "mirror.example/a.deb"}}}
		}
		own := packages()
		return &Lock{APIVersion: APIVersion, System: packages(),
			Recipe: recipe.Recipe{Name: "x", Base: recipe.Base{Mirror: "https://" + user + "mirror.example/ubuntu"},
				Containers: []recipe.Container{{Name: "c", Image: recipe.Image{Packages: &recipe.ImagePackages{Mirror: "https://" + user + "mirror.example/debian"}}}},
				Models:     []recipe.Model{{Name: "m", Source: "https://" + user + "host.example/m.gguf" + query}}},
			Containers: []Container{{Name: "c", Packages: &own}},
			Models:     []File{{Path: "m.gguf", Source: "https://" + user + "host.example/m.gguf" + query}}}
	}
	secret, open := with("me:hunter2@", "?token=hunter2"), with("", "")
	content, yaml, err := Portable(secret)
	if err != nil || bytes.Contains(content, []byte("hunter2")) || bytes.Contains(yaml, []byte("hunter2")) {
		t.Errorf("%v\n%s\n%s", err, content, yaml)
	}
	if Digest(secret) != Digest(open) {
		t.Error("the same inputs by another password are another lock")
	}
	if secret.Models[0].Source != "https://me:hunter2@host.example/m.gguf?token=hunter2" || secret.Containers[0].Packages.Archives[0].URL != "https://me:hunter2@mirror.example/ubuntu" {
		t.Error("the lock itself was changed")
	}
}
