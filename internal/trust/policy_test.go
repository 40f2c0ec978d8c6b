package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sample"
)

// policy writes a policy with the first maker's key beside it, and reads it.
func policy(t *testing.T, rules string) (*Policy, error) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"maker.pub": string(keys()[0].Public().PEM()), "policy.yaml": "apiVersion: agibake/v1\nkind: TrustPolicy\n" + rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return ReadPolicy(filepath.Join(dir, "policy.yaml"))
}

func TestBadPolicies(t *testing.T) {
	for rules, want := range map[string]string{
		"":                               "no rules",
		"rules: []\n":                    "no rules",
		"rules: [{repositories: [x]}]\n": "needs repositories and keys",
		"rules: [{keys: [maker.pub]}]\n": "needs repositories and keys",
		"rules: [{repositories: [\"[\"], keys: [maker.pub]}]\n":                  "repositories",
		"rules: [{repositories: [x], keys: [none.pub]}]\n":                       "none.pub",
		"rules: [{repositories: [x], keys: [policy.yaml]}]\n":                    "policy.yaml",
		"rules: [{repositories: [x], keys: [maker.pub], attestations: [vex]}]\n": "vex",
		"rules: [{repositories: [x], keys: [maker.pub], minimumVersion: new}]\n": "new",
		"rules: [{repositories: [x], keys: [maker.pub], trust: all}]\n":          "trust",
		"rules: [{repositories: [x], keys: [maker.pub]}]\n---\nrules: []\n":      "more than one document",
		"rules: [{repositories: [x], keys: [maker.pub]}]\nother: 1\n":            "other",
		"rules: 1\n": "line 3",
	} {
		p, err := policy(t, rules)
		if p != nil || fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", rules, err, want)
		}
	}
	if _, err := ReadPolicy(t.TempDir() + "/none"); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestPolicy(t *testing.T) {
	l, a := signed(t, t.TempDir(), sample.Spec{Version: "1.2.0"})
	plain, b := sample.Appliance(t, t.TempDir(), sample.Spec{Version: "nightly"})
	if _, err := Sign(t.Context(), plain, Of(b), keys()[0], SignOptions{Forms: []string{Legacy}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rules, repository string
		attested, simple  bool // what it says of an appliance of version 1.2.0 with attestations, and of one without, called nightly
	}{
		{"[{repositories: [host/agi/*], keys: [maker.pub]}]", "host/agi/saiga", true, true},
		{"[{repositories: [host/agi/*], keys: [maker.pub]}]", "host/agi/saiga/deep", false, false},
		{"[{repositories: [host/agi/**], keys: [maker.pub]}]", "host/agi/saiga/deep", true, true},
		{"[{repositories: [host/agi/**], keys: [maker.pub]}]", "host/evil", false, false},
		{"[{repositories: [\"**\"], keys: [maker.pub]}]", "/srv/out/saiga", true, true},
		{"[{repositories: [\"**\"], keys: [maker.pub], attestations: [sbom, provenance]}]", "x", true, false},
		{"[{repositories: [\"**\"], keys: [maker.pub], names: [saiga]}]", "x", true, true},
		{"[{repositories: [\"**\"], keys: [maker.pub], names: [other]}]", "x", false, false},
		{"[{repositories: [\"**\"], keys: [maker.pub], minimumVersion: 1.2.0}]", "x", true, false},
		{"[{repositories: [\"**\"], keys: [maker.pub], minimumVersion: 1.1.9}]", "x", true, false},
		{"[{repositories: [\"**\"], keys: [maker.pub], minimumVersion: 1.2.1}]", "x", false, false},
		{"[{repositories: [\"**\"], keys: [maker.pub], minimumVersion: 1.10}]", "x", false, false},
		{"[{repositories: [x], keys: [maker.pub], names: [other]}, {repositories: [\"**\"], keys: [maker.pub]}]", "x", false, false}, // the first decides
	} {
		p, err := policy(t, "rules: "+c.rules+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(t.Context(), l, Of(a), c.repository, p); (err == nil) != c.attested || err != nil && fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s for %s: %v", c.rules, c.repository, err)
		}
		if _, err := Verify(t.Context(), plain, Of(b), c.repository, p); (err == nil) != c.simple || err != nil && fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s for %s without attestations: %v", c.rules, c.repository, err)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte("apiVersion: agibake/v1\nkind: TrustPolicy\nrules: [{repositories: [x], keys: [maker.pub]}]\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, "policy.yaml")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := ReadPolicy(file); (p == nil) == (err == nil) {
			t.Errorf("%v, %v", p, err)
		}
	})
}
