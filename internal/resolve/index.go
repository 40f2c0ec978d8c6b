package resolve

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/tool"
)

// target is one verified Packages file that apt holds.
type target struct {
	file, repo, suite, component, inRelease string
}

// targets asks apt which verified indexes it has.
func (t *apt) targets(ctx context.Context) ([]target, error) {
	out, err := t.run(ctx, "indextargets", "--format", "$(FILENAME)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(METAKEY)", "Created-By: Packages")
	if err != nil {
		return nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	var all []target
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 5 {
			continue
		}
		prefix, ok := strings.CutSuffix(f[0], "_"+strings.ReplaceAll(f[4], "/", "_"))
		if !ok {
			continue
		}
		all = append(all, target{f[0], f[1], f[2], f[3], prefix + "_InRelease"})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("apt holds no package list of %s %s", t.archive.distribution, t.archive.release)
	}
	return all, nil
}

// stanza is what is needed of one entry of a Packages file (Debian policy, section 5; Debian repository format).
type stanza struct {
	name, version, architecture, filename, size, sha256, priority, provides string
	essential                                                               bool
}

// stanzas calls each for every entry of a Packages file, in its order.
func stanzas(file string, each func(*stanza)) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read package list: %w", err)
	}
	defer f.Close()
	if err := parseStanzas(f, each); err != nil {
		return fmt.Errorf("read package list %s: %w", file, err)
	}
	return nil
}

func parseStanzas(r io.Reader, each func(*stanza)) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 256<<10), 16<<20)
	var s stanza
	for scan.Scan() {
		line := scan.Bytes()
		if len(line) == 0 {
			if s.name != "" {
				each(&s)
			}
			s = stanza{}
			continue
		}
		if strings.IndexByte("PVAFSE", line[0]) >= 0 { // begins of the fields that set knows
			s.set(line)
		}
	}
	if s.name != "" {
		each(&s)
	}
	return scan.Err()
}

func (s *stanza) set(line []byte) {
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return
	}
	var field *string
	switch string(key) {
	case "Package":
		field = &s.name
	case "Version":
		field = &s.version
	case "Architecture":
		field = &s.architecture
	case "Filename":
		field = &s.filename
	case "Size":
		field = &s.size
	case "SHA256":
		field = &s.sha256
	case "Priority":
		field = &s.priority
	case "Provides":
		field = &s.provides
	case "Essential":
		s.essential = string(bytes.TrimSpace(value)) == "yes"
		return
	default:
		return
	}
	*field = string(bytes.TrimSpace(value))
}

// index is what the lists say of names alone.
type index struct {
	names     map[string]bool // packages, and what they provide
	essential []string        // Essential: yes, and Priority: required too where asked for; in the lists' order
}

func readIndex(targets []target, required bool) (*index, error) {
	x := &index{names: map[string]bool{}}
	seen := map[string]bool{}
	for _, t := range targets {
		err := stanzas(t.file, func(s *stanza) {
			x.names[s.name] = true
			for p := range strings.SplitSeq(s.provides, ",") {
				name, _, _ := strings.Cut(strings.TrimSpace(p), " ")
				x.names[name] = true
			}
			if (s.essential || required && s.priority == "required") && !seen[s.name] {
				seen[s.name] = true
				x.essential = append(x.essential, s.name)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

// pinAll finds each chosen package in the lists. The first list that has it counts, in the order of the sources.
func pinAll(targets []target, set map[string]chosen) (map[string]lock.Package, error) {
	found := map[string]lock.Package{}
	var bad error
	for _, t := range targets {
		err := stanzas(t.file, func(s *stanza) {
			c, ok := set[s.name]
			if _, done := found[s.name]; !ok || done || bad != nil || c.version != s.version || c.architecture != s.architecture {
				return
			}
			p, err := s.pin(t.repo)
			if err != nil {
				bad = err
			}
			found[s.name] = p
		})
		if err != nil {
			return nil, err
		}
	}
	for name, c := range set {
		if _, ok := found[name]; !ok && bad == nil {
			bad = fmt.Errorf("package %s %s: chosen by apt, but in no list", name, c.version)
		}
	}
	return found, bad
}

func (s *stanza) pin(repo string) (lock.Package, error) {
	size, err := strconv.ParseInt(s.size, 10, 64)
	sum, err2 := hex.DecodeString(s.sha256)
	if err != nil || err2 != nil || size <= 0 || len(sum) != sha256.Size || !fs.ValidPath(s.filename) {
		return lock.Package{}, fault.Mark(fault.Untrusted, fmt.Errorf("package %s %s: malformed entry in the archive's list", s.name, s.version))
	}
	return lock.Package{
		Name: s.name, Version: s.version, Architecture: s.architecture, Size: size, SHA256: strings.ToLower(s.sha256),
		URL: strings.TrimRight(repo, "/") + "/" + s.filename,
	}, nil
}

// archives describes the suites behind the lists.
func (t *apt) archives(ctx context.Context, targets []target) ([]lock.Archive, error) {
	var all []lock.Archive
	at := map[string]int{}
	for _, x := range targets {
		i, known := at[x.inRelease]
		if !known {
			a, err := t.suite(ctx, x)
			if err != nil {
				return nil, err
			}
			i = len(all)
			at[x.inRelease] = i
			all = append(all, a)
		}
		all[i].Components = append(all[i].Components, x.component)
	}
	return all, nil
}

// suite reads an InRelease file that apt verified, and asks gpgv which key signed it.
func (t *apt) suite(ctx context.Context, x target) (lock.Archive, error) {
	data, err := os.ReadFile(x.inRelease)
	if err != nil {
		return lock.Archive{}, fmt.Errorf("suite %s: no InRelease file: %w", x.suite, err)
	}
	var date time.Time
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Date:"); ok {
			if date, err = time.Parse(time.RFC1123, strings.TrimSpace(value)); err != nil {
				return lock.Archive{}, fmt.Errorf("suite %s: date of its Release file: %w", x.suite, err)
			}
			break
		}
	}
	key, err := signer(ctx, t.dir+"/keyring.gpg", x.inRelease)
	if err != nil {
		return lock.Archive{}, fmt.Errorf("suite %s: %w", x.suite, err)
	}
	sum := sha256.Sum256(data)
	return lock.Archive{
		URL: strings.TrimRight(x.repo, "/"), Suite: x.suite, Date: date.UTC().Format(time.RFC1123),
		SHA256: hex.EncodeToString(sum[:]), SignedBy: key,
	}, nil
}

// signer returns the fingerprint of the primary key behind the first good signature (GnuPG doc/DETAILS, VALIDSIG).
func signer(ctx context.Context, keyring, file string) (string, error) {
	// The status is not zero as soon as one of several signatures is by a key that the keyring lacks.
	var out bytes.Buffer
	err := tool.Run(ctx, tool.Cmd{Name: "gpgv", Args: []string{"--status-fd", "1", "--keyring", keyring, file}, Stdout: &out})
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) >= 12 && f[1] == "VALIDSIG" {
			return f[11], nil
		}
	}
	if err == nil || fault.KindOf(err) != fault.Missing {
		err = fmt.Errorf("%w: no good signature by a known key", ErrArchive)
	}
	return "", err
}
