package seal

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"github.com/agibake/agibake/internal/fault"
)

// parseRecipients reads recipients as age's -r takes them, and files as its -R does.
func parseRecipients(names []string) (list []age.Recipient, err error) {
	for _, name := range names {
		if isSecret(name) {
			return nil, fault.Hint(errors.New("a secret key stands among the recipients"), "give its public half: age-keygen -y FILE")
		}
		if strings.HasPrefix(name, "age1") || strings.HasPrefix(name, "ssh-") {
			r, err := parseRecipient(name)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
			continue
		}
		more, err := readRecipients(strings.TrimPrefix(name, "@"))
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

func isSecret(text string) bool {
	text = strings.ToUpper(strings.TrimLeft(text, "@ "))
	return strings.HasPrefix(text, "AGE-SECRET-KEY-") || strings.HasPrefix(text, "AGE-PLUGIN-")
}

func parseRecipient(text string) (age.Recipient, error) {
	switch {
	case strings.HasPrefix(text, "ssh-"):
		return agessh.ParseRecipient(text)
	case strings.HasPrefix(text, "age1pq1"):
		return age.ParseHybridRecipient(text)
	case strings.Count(text, "1") > 1 && strings.HasPrefix(text, "age1"): // bech32 data has no 1: a plugin's name stands between
		return plugin.NewRecipient(text, &plugin.ClientUI{})
	case strings.HasPrefix(text, "age1"):
		return age.ParseX25519Recipient(text)
	}
	return nil, errors.New("neither age1… nor ssh-…")
}

// readRecipients reads a file of recipients. Its errors name lines but do not show them: it may be the wrong file.
func readRecipients(path string) (list []age.Recipient, err error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fault.Hint(fmt.Errorf("read recipients: %w", err), "a recipient is age1…, ssh-ed25519 …, ssh-rsa …, or a file of such lines")
	}
	err = lines(text, func(line string) error {
		r, err := parseRecipient(line)
		if err != nil {
			return errors.New("no recipient: neither age1…, ssh-ed25519 … nor ssh-rsa …")
		}
		list = append(list, r)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("no recipient in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read recipients %s: %w", path, err)
	}
	return list, nil
}

// lines calls do with each line that is neither empty nor a comment, as age reads its files.
func lines(text []byte, do func(string) error) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}
