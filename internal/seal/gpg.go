package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// gpgBase keeps gpg from asking on the terminal and from looking for keys in the network.
var gpgBase = []string{"--batch", "--no-tty", "--quiet", "--status-fd", "2", "--disable-dirmngr", "--no-auto-key-locate"}

// wrapGPG seals text for keys of gpg's keyring, and for no others that gpg.conf adds.
func wrapGPG(ctx context.Context, text []byte, names []string) ([]byte, error) {
	args := []string{"--trust-model", "always", "--no-encrypt-to", "--no-groups", "--no-armor", "-z", "0", "--encrypt"}
	var keys []string
	for _, name := range names {
		key, err := findGPG(ctx, name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
			args = append(args, "--recipient", key)
		}
	}
	data, err := gpg(ctx, text, MaxWrap, args...)
	if err != nil {
		return nil, err
	}
	if ids, err := gpgKeys(data); err != nil || len(ids) != len(keys) {
		return nil, fmt.Errorf("gpg sealed it for %d keys, not for %d", len(ids), len(keys))
	}
	return data, nil
}

// openGPG lets gpg's agent open a message that gpgKeys took.
func openGPG(ctx context.Context, data []byte) (*Secret, error) {
	text, err := gpg(ctx, data, maxPlain, "--decrypt")
	if err != nil {
		return nil, err
	}
	return secretFrom(text)
}

// gpg runs gpg with stdin, and returns at most limit bytes of what it prints.
func gpg(ctx context.Context, stdin []byte, limit int, args ...string) ([]byte, error) {
	out, messages := &capped{limit: limit}, &capped{limit: 64 << 10}
	err := tool.Run(ctx, tool.Cmd{
		Name: "gpg", Args: append(slices.Clone(gpgBase), args...),
		Stdin: bytes.NewReader(stdin), Stdout: out, Stderr: messages,
	})
	switch {
	case err == nil && !out.over:
		return out.b, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case fault.KindOf(err) == fault.Missing:
		return nil, fault.Hint(err, "sudo apt-get install gpg gpg-agent")
	}
	var words []string
	for line := range strings.Lines(string(messages.b)) {
		status, isStatus := strings.CutPrefix(line, "[GNUPG:] ")
		if out.over || strings.HasPrefix(status, "BADMDC") || strings.HasPrefix(status, "BAD_MDC") {
			return nil, fault.Mark(fault.Untrusted, errors.New("gpg: the message is damaged, or holds something else"))
		}
		if text := strings.TrimPrefix(strings.TrimSpace(line), "gpg: "); text != "" && !isStatus {
			words = append(words, text)
		}
	}
	return nil, fault.Mark(fault.Input, fmt.Errorf("gpg: %s (exit status %d)", strings.Join(words, "; "), tool.ExitCode(err)))
}

// capped keeps what is written to it, up to limit bytes, and fails on more: then the program cannot write on. It embeds no
// bytes.Buffer, whose ReadFrom io.Copy would prefer.
type capped struct {
	b     []byte
	limit int
	over  bool
}

func (c *capped) Write(p []byte) (int, error) {
	if len(c.b)+len(p) > c.limit {
		c.over = true
		return 0, errors.New("too much output")
	}
	c.b = append(c.b, p...)
	return len(p), nil
}

var (
	gpgID   = regexp.MustCompile(`^(0x)?([0-9A-Fa-f]{16}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$`)
	gpgMail = regexp.MustCompile(`^[^\s<>@:]+@[^\s<>@:]+$`)
)

// findGPG returns the fingerprint of the one key that name stands for. An address is a claim of whoever made the key, so
// it counts only where gpg holds it for certified; a fingerprint is the key itself.
func findGPG(ctx context.Context, name string) (string, error) {
	mail := ""
	switch short := strings.Trim(name, "<>"); {
	case gpgID.MatchString(name):
	case gpgMail.MatchString(short):
		mail = "<" + strings.ToLower(short) + ">"
		name = "<" + short + ">" // without the brackets, gpg also takes addresses that contain it
	default:
		return "", fault.Hint(fault.Mark(fault.Input, fmt.Errorf("gpg recipient %.80q", name)),
			"name a key by its fingerprint, its key id of 16 digits, or a mail address: gpg --list-keys --keyid-format long")
	}
	out, err := gpg(ctx, nil, 1<<20, "--with-colons", "--list-keys", "--", name)
	if err != nil {
		return "", fault.Hint(fmt.Errorf("gpg recipient %s: %w", name, err), "gpg --import its public key first")
	}
	switch all, fit := listedGPG(string(out), mail); {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		err = fault.Hint(fmt.Errorf("gpg recipient %s: %d keys have it", name, len(fit)), "name one by its fingerprint: "+list(fit, "or"))
	default:
		err = fault.Hint(fmt.Errorf("gpg recipient %s: no valid key is certified to have it", name),
			"compare the fingerprint with its owner's, and name the key by it: "+list(all, "or"))
	}
	return "", fault.Mark(fault.Input, err)
}

// listedGPG reads gpg --with-colons (GnuPG, doc/DETAILS): the fingerprints of all keys, and of those that fit.
func listedGPG(text, mail string) (all, fit []string) {
	primary, usable, fits := false, false, false
	end := func() {
		if fits && len(all) > 0 {
			fit = append(fit, all[len(all)-1])
		}
		fits = false
	}
	for line := range strings.Lines(text) {
		f := strings.Split(line, ":")
		switch {
		case f[0] == "pub" && len(f) > 11:
			end()
			primary, usable, fits = true, !strings.ContainsAny(f[1], "rei") && !strings.Contains(f[11], "D"), mail == ""
		case f[0] == "fpr" && len(f) > 9 && primary:
			all, primary = append(all, f[9]), false
		case f[0] == "uid" && len(f) > 9 && mail != "":
			uid := strings.ToLower(f[9])
			fits = fits || usable && strings.ContainsAny(f[1], "fu") && (strings.HasSuffix(uid, mail) || "<"+uid+">" == mail)
		}
	}
	end()
	return all, fit
}
