package resolve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// apt is the host's apt-get on a root of its own: no package installed, our sources and keys, none of the host's
// configuration or state.
type apt struct {
	dir     string
	archive *archive
	release func()
}

// openApt prepares the root of an archive in the store, where its package lists stay for the next time.
func openApt(ctx context.Context, s *cas.Store, a *archive) (*apt, error) {
	for _, name := range []string{"apt-get", "gpgv"} {
		if err := tool.Fit(ctx, name); err != nil {
			return nil, err
		}
	}
	sources := a.deb822()
	sum := sha256.Sum256([]byte(sources))
	dir, release, err := s.Lists(ctx, hex.EncodeToString(sum[:]))
	if err != nil {
		return nil, err
	}
	t := &apt{dir: dir, archive: a, release: release}
	if err := t.prepare(sources); err != nil {
		release()
		return nil, fmt.Errorf("prepare apt: %w", err)
	}
	return t, nil
}

func (t *apt) prepare(sources string) error {
	if strings.ContainsAny(t.dir, "\"\\\n") {
		return fmt.Errorf("cache folder %q: a name that apt cannot read", t.dir)
	}
	for _, sub := range []string{"lists/partial", "sources", "archives/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(t.dir, sub), 0o755); err != nil {
			return err
		}
	}
	key, err := dearmor(t.archive.keyring)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"apt.conf": []byte(t.config()), "status": nil, "keyring.gpg": key, "sources/agibake.sources": []byte(sources),
	} {
		// apt distrusts its cache when a source is newer, so a file that stands is left alone.
		path := filepath.Join(t.dir, name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
			continue
		}
		if err := atomicfile.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// config is read from APT_CONFIG before apt looks for the host's, which it names away (apt.conf(5)).
func (t *apt) config() string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"Dir", t.dir + "/"},
		{"Dir::Etc::Main", "/dev/null"}, {"Dir::Etc::Parts", "/dev/null"},
		{"Dir::Etc::SourceList", "/dev/null"}, {"Dir::Etc::SourceParts", t.dir + "/sources/"},
		{"Dir::Etc::Trusted", "/dev/null"}, {"Dir::Etc::TrustedParts", "/dev/null"},
		{"Dir::Etc::Preferences", "/dev/null"}, {"Dir::Etc::PreferencesParts", "/dev/null"},
		{"Dir::Etc::Netrc", "/dev/null"}, {"Dir::Etc::NetrcParts", "/dev/null"},
		{"Dir::State", t.dir + "/state/"}, {"Dir::State::Lists", t.dir + "/lists/"}, {"Dir::State::Status", t.dir + "/status"},
		{"Dir::Cache", t.dir + "/"}, {"Dir::Cache::Archives", t.dir + "/archives/"}, {"Dir::Cache::SrcPkgCache", ""}, {"Dir::Log", t.dir + "/log/"},
		{"APT::Architecture", "amd64"}, {"APT::Architectures::", "amd64"},
		{"APT::Sandbox::User", ""},
		{"APT::Install-Recommends", "false"}, {"APT::Install-Suggests", "false"},
		{"APT::Update::Error-Mode", "any"},
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"}, {"Acquire::Retries::Delay", "false"}, // apt 2.6 may wait for ever for a delayed one
		{"Acquire::http::Timeout", "30"}, {"Acquire::https::Timeout", "30"},
		{"Acquire::AllowInsecureRepositories", "false"}, {"Acquire::AllowWeakRepositories", "false"},
		{"Acquire::AllowDowngradeToInsecureRepositories", "false"},
		{"Debug::NoLocking", "true"}, // the store's lock is held
	} {
		fmt.Fprintf(&b, "%s \"%s\";\n", kv[0], kv[1])
	}
	return b.String()
}

// run runs apt-get and returns what it said: its output, then its complaints, each from the start of a line. (Written
// together, a complaint may stand behind an unfinished "Reading package lists...".)
func (t *apt) run(ctx context.Context, args ...string) (string, error) {
	var out, errs capped
	temp, err := os.MkdirTemp("", "agibake-apt-") // apt leaves files in its TMPDIR
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") && !strings.HasPrefix(kv, "APT_CONFIG=") {
			env = append(env, kv)
		}
	}
	env = append(env, "LC_ALL=C.UTF-8", "APT_CONFIG="+filepath.Join(t.dir, "apt.conf"), "TMPDIR="+temp)
	err = tool.Run(ctx, tool.Cmd{Name: "apt-get", Args: args, Env: env, Stdout: &out, Stderr: &errs})
	return out.b.String() + "\n" + errs.b.String(), err
}

// update brings the package lists up to date; lists that did not change are not fetched again.
func (t *apt) update(ctx context.Context) error {
	out, err := t.run(ctx, "update", "-q")
	if err == nil && strings.Contains(out, "doesn't have the component") {
		err := fmt.Errorf("%s %s: %s", t.archive.distribution, t.archive.release, lines(out, "W: "))
		return fault.Hint(fault.Mark(fault.Input, err), "check base.components")
	}
	if err == nil {
		return atomicfile.WriteFile(t.stamp(), nil, 0o644)
	}
	if ctx.Err() != nil || fault.KindOf(err) == fault.Missing {
		return err
	}
	return aptError(t, out, err)
}

// stamp is the file that says the lists were complete once.
func (t *apt) stamp() string { return filepath.Join(t.dir, "updated") }

// cached tells whether the lists were ever fetched whole.
func (t *apt) cached() bool {
	_, err := os.Stat(t.stamp())
	return err == nil
}

// uri is a line of apt-get --print-uris: 'URL' NAME_VERSION_ARCHITECTURE.deb SIZE DIGEST.
var uri = regexp.MustCompile(`(?m)^'\S+' ([^_\s]+)_([^_\s]+)_([a-z0-9]+)\.deb [0-9]+ `)

// chosen is one package of the solution.
type chosen struct{ version, architecture string }

// solve has apt's solver find what installing the names on an empty system takes. Printing addresses takes apt half
// the time of a simulation.
func (t *apt) solve(ctx context.Context, names []string) (map[string]chosen, error) {
	out, err := t.run(ctx, append([]string{"install", "--print-uris", "-q", "-y", "--no-install-recommends"}, names...)...)
	if err != nil {
		if ctx.Err() != nil || fault.KindOf(err) == fault.Missing {
			return nil, err
		}
		return nil, fault.Mark(fault.Input, fmt.Errorf("the packages cannot be installed together: %s", unmet(out, err)))
	}
	set := map[string]chosen{}
	for _, m := range uri.FindAllStringSubmatch(out, -1) {
		version, err := url.PathUnescape(m[2]) // apt writes a colon as %3a
		if err != nil {
			return nil, fmt.Errorf("apt-get: version %q: %w", m[2], err)
		}
		set[m[1]] = chosen{version, m[3]}
	}
	if len(set) == 0 {
		return nil, errors.New("apt-get: the solution names no package")
	}
	return set, nil
}

// unmet is the part of apt's words that says what does not fit.
func unmet(out string, err error) string {
	if _, text, ok := strings.Cut(out, "unmet dependencies:\n"); ok {
		return strings.TrimSpace(text)
	}
	if errs := lines(out, "E: "); errs != "" {
		return errs
	}
	return err.Error()
}

// lines returns the lines of out with a prefix, joined.
func lines(out, prefix string) string {
	var list []string
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			list = append(list, rest)
		}
	}
	return strings.Join(list, "; ")
}

// capped keeps the first 4 MiB written to it; the solution of a thousand packages is a tenth of that.
type capped struct {
	b bytes.Buffer // not embedded: its ReadFrom would go past Write
}

func (c *capped) Write(p []byte) (int, error) {
	if room := 4<<20 - c.b.Len(); room > 0 {
		c.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
