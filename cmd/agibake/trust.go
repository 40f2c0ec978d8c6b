package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sign"
	"github.com/agibake/agibake/internal/trust"
)

// trustFlags say what is trusted.
type trustFlags struct {
	keys     []string
	policy   string
	insecure bool
}

func (f *trustFlags) flags(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.keys, "key", nil, "`FILE` with a public key that must have signed; one of several is enough")
	c.Flags().StringVar(&f.policy, "policy", "", "`FILE` that says whose keys count for which repositories")
	c.Flags().BoolVar(&f.insecure, "insecure-skip-verify", false, "use it whoever made it")
}

// load returns the policy, nil where nothing is to be verified. Nothing named is a refusal.
func (f *trustFlags) load(c *cobra.Command) (*trust.Policy, error) {
	if given := f.policy != "" || len(f.keys) > 0; f.insecure && given || f.policy != "" && len(f.keys) > 0 {
		return nil, usage(c, errors.New("--key, --policy and --insecure-skip-verify exclude each other"))
	}
	if f.insecure {
		return nil, nil
	}
	if len(f.keys) == 0 {
		return f.standing()
	}
	var keys []*sign.Verifier
	for _, file := range f.keys {
		v, err := trust.ReadKey(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, v)
	}
	return trust.KeyPolicy(keys...), nil
}

// standing reads the policy of --policy, AGIBAKE_POLICY or the user's configuration ($XDG_CONFIG_HOME).
func (f *trustFlags) standing() (*trust.Policy, error) {
	file := f.policy
	if file == "" {
		file = os.Getenv("AGIBAKE_POLICY")
	}
	if file != "" {
		return trust.ReadPolicy(file)
	}
	if dir, err := os.UserConfigDir(); err == nil {
		file = filepath.Join(dir, "agibake", "policy.yaml")
		if _, err := os.Lstat(file); err == nil {
			return trust.ReadPolicy(file)
		}
	}
	err := fault.Mark(fault.Untrusted, errors.New("nothing says whose signature counts"))
	return nil, fault.Hint(err, "name the maker's public key with --key cosign.pub, or write "+file+"; --insecure-skip-verify trusts everyone")
}

// judge verifies an appliance; without a policy it says loudly that nobody did.
func (a *app) judge(ctx context.Context, p *place, policy *trust.Policy) (*trust.Verdict, error) {
	if policy == nil {
		fmt.Fprintf(a.stderr, "WARNING: nobody verified %s %s from %s: it may be anything, made by anyone\n", p.appliance.Name, p.appliance.Version, clean(p.name))
		return nil, nil
	}
	return trust.Verify(ctx, p.store, trust.Of(p.appliance), p.name, policy)
}

// passwordFile adds the flag that names a file with a key's password.
func passwordFile(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "password-file", "", "`FILE` whose first line is the key's password")
}

// password gets a key's password: from a file, AGIBAKE_KEY_PASSWORD, COSIGN_PASSWORD, or a prompt.
func (a *app) password(ctx context.Context, file string, isNew bool) ([]byte, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fault.Mark(fault.Input, fmt.Errorf("read the password: %w", err))
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
	for _, name := range []string{"AGIBAKE_KEY_PASSWORD", "COSIGN_PASSWORD"} {
		if text, ok := os.LookupEnv(name); ok {
			return []byte(text), nil
		}
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		err := fault.Mark(fault.Input, errors.New("the key needs a password, and there is no terminal to ask on"))
		return nil, fault.Hint(err, "give it in AGIBAKE_KEY_PASSWORD, or with --password-file")
	}
	first, err := a.prompt(ctx, "password of the key: ")
	if err != nil || !isNew {
		return first, err
	}
	second, err := a.prompt(ctx, "once more: ")
	if err == nil && !bytes.Equal(first, second) {
		err = fault.Mark(fault.Input, errors.New("the two passwords differ"))
	}
	return first, err
}

// prompt reads a line without showing it. A Ctrl-C gives the terminal back as it was.
func (a *app) prompt(ctx context.Context, text string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(a.stderr, text)
	type answer struct {
		line []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		done <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		err = errors.Join(ctx.Err(), term.Restore(fd, before))
	case got := <-done:
		fmt.Fprintln(a.stderr)
		return got.line, got.err
	}
	fmt.Fprintln(a.stderr)
	return nil, err
}

// openKey opens a private key with its password.
func (a *app) openKey(ctx context.Context, file, passwordFile string) (*sign.Key, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		err = fault.Mark(fault.Input, fmt.Errorf("private key: %w", err))
		return nil, fault.Hint(err, "agibake keygen makes a pair of keys")
	}
	password, err := a.password(ctx, passwordFile, false)
	if err != nil {
		return nil, err
	}
	key, err := sign.LoadPrivate(text, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// signer is what signs an appliance as it is baked.
func (a *app) signer(ctx context.Context, file, passwordFile string) (bake.Sign, error) {
	key, err := a.openKey(ctx, file, passwordFile)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, l *artifact.Layout, x *artifact.Appliance) ([]string, error) {
		return trust.Sign(ctx, l, trust.Of(x), key, trust.SignOptions{Reference: x.Name, Forms: []string{trust.Bundle, trust.Legacy}})
	}, nil
}

// signers shows the keys whose signatures hold, each with the forms that it signed in.
func (a *app) signers(v *trust.Verdict) {
	if v == nil {
		return
	}
	var keys []string
	forms := map[string]string{}
	for _, s := range v.Signatures {
		if forms[s.Key] == "" {
			keys = append(keys, s.Key)
			forms[s.Key] = s.Form
		} else if !strings.Contains(forms[s.Key], s.Form) {
			forms[s.Key] += ", " + s.Form
		}
	}
	for _, key := range keys {
		a.fact("signed by", "%s", strings.TrimPrefix(key, "sha256:"))
		a.fact("", "%s", forms[key])
	}
}
