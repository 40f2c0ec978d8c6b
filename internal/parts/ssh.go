package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

type host struct {
	text   string   // as it was given
	target []string // arguments of ssh before the command
	dir    string
}

// plainHost keeps options of ssh and words of a shell out of its command line.
var plainHost = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.+-]*@)?[A-Za-z0-9_:][A-Za-z0-9_.:-]*$`)

// SSH is a folder of another host: ssh://[USER@]HOST[:PORT]/PATH, and /~/PATH for one below the home folder. The host needs
// a shell, cat, tail, wc, mv and mkdir. ssh is the program of that name, with its own configuration and keys.
func SSH(text string) (Place, error) {
	bad := func(err error) (Place, error) {
		return nil, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("place %.200q: %w", text, err)), "write ssh://USER@HOST/PATH")
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad(errors.New("it is no address"))
	}
	at := u.Hostname()
	if u.User != nil {
		if _, secret := u.User.Password(); secret {
			return bad(errors.New("a password has no place there"))
		}
		at = u.User.Username() + "@" + at
	}
	if u.Scheme != "ssh" || !plainHost.MatchString(at) || u.RawQuery != "" || u.Fragment != "" {
		return bad(errors.New("it names no host"))
	}
	h := &host{text: text, dir: path.Clean(u.Path), target: []string{"-T"}}
	if h.dir == "/" || h.dir == "." || h.dir == "/~" || strings.ContainsAny(h.dir, "\n\x00") {
		return bad(errors.New("it names no folder"))
	}
	if rest, ok := strings.CutPrefix(h.dir, "/~/"); ok {
		h.dir = "./" + rest
	}
	if port := u.Port(); port != "" {
		h.target = append(h.target, "-p", port)
	}
	h.target = append(h.target, "--", at)
	return h, nil
}

func (h *host) String() string { return h.text }

// quote makes a word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (h *host) start(ctx context.Context, script string, in *os.File, out io.Writer) (*tool.Process, error) {
	c := tool.Cmd{Name: "ssh", Args: append(append([]string{}, h.target...), script), Stdout: out}
	if in != nil {
		c.Stdin = in
	}
	return tool.Start(ctx, c)
}

func (h *host) run(ctx context.Context, script string) (string, error) {
	var out strings.Builder
	p, err := h.start(ctx, script, nil, &out)
	if err == nil {
		err = p.Wait()
	}
	return out.String(), h.explain(ctx, err)
}

func (h *host) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = fmt.Errorf("%s: %w", h.text, err)
	if tool.ExitCode(err) == 255 { // ssh's own
		err = fault.Hint(err, "ssh "+strings.Join(h.target[1:], " ")+" true  must work without questions")
	}
	return err
}

// Find implements Place.
func (h *host) Find(ctx context.Context) (list []*Found, err error) {
	out, err := h.run(ctx, "cd "+quote(h.dir)+` 2>/dev/null || exit 0; for f in *`+Suffix+`; do [ -f "$f" ] && printf '%s %s\n' $(wc -c < "$f") "$f"; done; exit 0`)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		text, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		size, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("%s: find parts: its shell says %.80q", h.text, line)
		}
		f := &Found{Place: h, Name: name, Where: h.text + "/" + name, Size: size, open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return h.open(ctx, name, offset)
		}}
		f.peek(ctx)
		list = append(list, f)
	}
	return list, nil
}
