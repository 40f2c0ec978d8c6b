package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sign"
)

func newKeygen(a *app) *cobra.Command {
	name, file := "", ""
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a pair of keys that signs appliances",
		Long: `Write NAME.key, a private key sealed with a password, and NAME.pub, the public key that others verify with. Both
are cosign's own form. The password comes from --password-file, AGIBAKE_KEY_PASSWORD, COSIGN_PASSWORD or a prompt.`,
		Example: "  agibake keygen -o maker",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.keygen(c.Context(), name, file) },
	}
	c.Flags().StringVarP(&name, "out", "o", "cosign", "`NAME` of the two files, without .key and .pub")
	passwordFile(c, &file)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) keygen(ctx context.Context, name, file string) error {
	private, public := name+".key", name+".pub"
	for _, path := range []string{private, public} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			err = fault.Mark(fault.Input, fmt.Errorf("%s exists already", path))
			return fault.Hint(err, "name other files with -o; a key that is lost cannot be made again")
		}
	}
	password, err := a.password(ctx, file, true)
	if err != nil {
		return err
	}
	key, pub, err := sign.GenerateKeyPair(password)
	if err != nil {
		return err
	}
	v, err := sign.LoadPublic(pub)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(private, key, 0o600); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(public, pub, 0o644); err != nil {
		return errors.Join(err, os.Remove(private))
	}
	if a.jsonOut {
		return a.printJSON(map[string]string{"private": private, "public": public, "fingerprint": v.String()})
	}
	if len(password) == 0 {
		fmt.Fprintln(a.stderr, "warning: the password is empty: whoever gets the file can sign")
	}
	fmt.Fprintf(a.stdout, "%s  keep it, and keep it to yourself\n%s  give it to whoever verifies\nfingerprint %s\n", private, public, v.Fingerprint())
	return nil
}
