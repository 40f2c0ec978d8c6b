// Package trust signs appliances and decides whether one may be used: a policy says whose keys count for which
// repositories and what must be attested. Whatever is not proven is refused.
package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sign"
)

// What a policy can require to be attested.
const (
	SBOM       = "sbom"
	Provenance = "provenance"
)

// Policy is the content of policy.yaml: the first rule that matches a repository decides. A repository that no rule
// matches is refused.
type Policy struct {
	APIVersion string `yaml:"apiVersion"` // agibake/v1
	Kind       string `yaml:"kind"`       // TrustPolicy
	Rules      []Rule `yaml:"rules"`
}

// Rule says what appliances of some repositories must prove.
type Rule struct {
	// Repositories are patterns of path.Match over host/repository, a folder's path or "oci:FOLDER"; "**" at the end
	// stands for everything below, alone for everything.
	Repositories []string `yaml:"repositories"`
	// Keys are files of public keys, relative to the policy. One of them must have signed.
	Keys []string `yaml:"keys"`
	// Attestations that one of the keys must have signed: sbom, provenance.
	Attestations []string `yaml:"attestations,omitempty"`
	// Names are the appliances that may stand there; none given allows all.
	Names []string `yaml:"names,omitempty"`
	// MinimumVersion refuses the replay of an older appliance.
	MinimumVersion string `yaml:"minimumVersion,omitempty"`

	verifiers []*sign.Verifier
}

// maxPolicy is the most bytes of a policy or a key file.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy with its keys. Every fault is of kind fault.Input.
func ReadPolicy(file string) (*Policy, error) {
	p, err := readPolicy(file)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("policy %s: %w", file, err))
	}
	return p, nil
}

func readPolicy(file string) (*Policy, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	var p Policy
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil {
		return nil, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if p.APIVersion != "agibake/v1" || p.Kind != "TrustPolicy" {
		return nil, errors.New(`expected "apiVersion: agibake/v1" and "kind: TrustPolicy"`)
	}
	if len(p.Rules) == 0 {
		return nil, errors.New("it has no rules, so it would refuse everything")
	}
	for i := range p.Rules {
		if err := p.Rules[i].load(filepath.Dir(file)); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return &p, nil
}

// load checks a rule and reads its keys.
func (r *Rule) load(dir string) error {
	if len(r.Repositories) == 0 || len(r.Keys) == 0 {
		return errors.New("it needs repositories and keys")
	}
	for _, pattern := range r.Repositories {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("repositories: %q: %w", pattern, err)
		}
	}
	for _, a := range r.Attestations {
		if a != SBOM && a != Provenance {
			return fmt.Errorf("attestations: %q is neither %s nor %s", a, SBOM, Provenance)
		}
	}
	if r.MinimumVersion != "" && !isVersion(r.MinimumVersion) {
		return fmt.Errorf("minimumVersion: %q is not like 1.2.0", r.MinimumVersion)
	}
	for _, name := range r.Keys {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		v, err := ReadKey(name)
		if err != nil {
			return err
		}
		r.verifiers = append(r.verifiers, v)
	}
	return nil
}

// ReadKey reads a public key of cosign's form (PEM).
func ReadKey(file string) (*sign.Verifier, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("public key: %w", err))
	}
	v, err := sign.LoadPublic(data)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", file, err)
	}
	return v, nil
}

// KeyPolicy is the policy of a command line: these keys, for every repository.
func KeyPolicy(keys ...*sign.Verifier) *Policy {
	return &Policy{Rules: []Rule{{Repositories: []string{"**"}, verifiers: keys}}}
}

// rule finds the rule for a repository.
func (p *Policy) rule(repository string) (*Rule, error) {
	for i := range p.Rules {
		if slices.ContainsFunc(p.Rules[i].Repositories, func(pattern string) bool { return matches(pattern, repository) }) {
			return &p.Rules[i], nil
		}
	}
	err := fault.Mark(fault.Untrusted, fmt.Errorf("%s: no rule of the policy matches it", repository))
	return nil, fault.Hint(err, "add a rule for it, or name a key with --key")
}

func matches(pattern, repository string) bool {
	if prefix, all := strings.CutSuffix(pattern, "**"); all {
		return strings.HasPrefix(repository, prefix)
	}
	ok, err := path.Match(pattern, repository)
	return ok && err == nil
}

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err == nil && len(data) > maxPolicy {
		err = fmt.Errorf("%s: more than %d bytes", file, maxPolicy)
	}
	return data, err
}
