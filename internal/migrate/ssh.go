package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// Place is where a state stands: a folder here, or on a machine that ssh reaches.
type Place struct {
	Host string // [user@]host; "" is this machine
	Port string
	Path string
}

// ParsePlace reads a folder, ssh://[user@]host[:port]/path, or [user@]host:/path as scp has it.
func ParsePlace(text string) (Place, error) {
	if strings.HasPrefix(text, "ssh://") {
		u, err := url.Parse(text)
		if err == nil && (u.Hostname() == "" || len(u.Path) < 2 || strings.HasPrefix(u.Host, "-")) {
			err = errors.New("a host and a folder are wanted: ssh://[user@]host[:port]/folder")
		}
		if err == nil {
			if _, secret := u.User.Password(); secret {
				err = errors.New("ssh takes no password from an address")
			}
		}
		if err != nil { // without the address: a password may be in it
			return Place{}, fault.Mark(fault.Usage, fmt.Errorf("place ssh://…: %w", cause(err)))
		}
		host := u.Hostname()
		if u.User.Username() != "" {
			host = u.User.Username() + "@" + host
		}
		return Place{host, u.Port(), u.Path}, nil
	}
	if host, path, ok := strings.Cut(text, ":"); ok && strings.HasPrefix(path, "/") && host != "" && !strings.ContainsAny(host, "/ ") && host[0] != '-' {
		return Place{Host: host, Path: path}, nil
	}
	path, err := filepath.Abs(text)
	return Place{Path: path}, err
}

// cause leaves out what url.Parse repeats of an address.
func cause(err error) error {
	if bad := (*url.Error)(nil); errors.As(err, &bad) {
		return bad.Err
	}
	return err
}

func (p Place) String() string {
	if p.Host == "" {
		return p.Path
	}
	return p.Host + ":" + p.Path
}

// Connect reaches the end at a place. ssh is the words of the command that does; nil is ssh.
func Connect(ctx context.Context, p Place, o EndOptions, ssh []string) (*Peer, error) {
	o.Root = p.Path
	if p.Host == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			o.Memo = filepath.Join(dir, "agibake", "state")
		}
		return Local(ctx, p.String(), o)
	}
	words, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if len(ssh) == 0 {
		ssh = []string{"ssh"}
	}
	args := append([]string{}, ssh[1:]...)
	if p.Port != "" {
		args = append(args, "-p", p.Port)
	}
	args = append(args, "-o", "ServerAliveInterval=15", "-o", "Compression=no", "-T", "--", p.Host, remote(string(words)))
	theirs, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	r, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	defer out.Close()
	// A Ctrl-C here must leave the other end time to put things back: it hangs up when we do.
	c, err := tool.Start(context.WithoutCancel(ctx), tool.Cmd{Name: ssh[0], Args: args, Stdin: theirs, Stdout: out, Attr: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", p, err), w.Close(), r.Close())
	}
	return NewPeer(p.String(), r, w, func() error {
		_ = w.Close()
		err := c.Wait()
		_ = r.Close()
		if err != nil {
			err = fault.Hint(fmt.Errorf("%s: %w", p, err), "agibake or an appliance's agent must be there, and ssh must get in without a question: try "+strings.Join(ssh, " ")+" "+p.Host)
		}
		return err
	})
}

// remote is the shell command that starts the end: the agent of an appliance, or agibake elsewhere; as root where only root
// may write to the state.
func remote(options string) string {
	return `a=/usr/lib/agibake/agid; [ -x $a ] || a=agibake; ` +
		`if [ "$(id -u)" = 0 ] || [ $a = agibake ]; then exec $a migrate-end ` + quote(options) + `; else exec sudo -n $a migrate-end ` + quote(options) + `; fi`
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// End runs the other side of Connect, over stdin and stdout. options is what remote passes.
func End(ctx context.Context, options string, in io.Reader, out io.Writer) error {
	var o EndOptions
	d := json.NewDecoder(strings.NewReader(options))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil || o.Root == "" {
		return fault.Mark(fault.Usage, fmt.Errorf("migrate-end is for agibake migrate: %w", err))
	}
	if dir, err := os.UserCacheDir(); err == nil {
		o.Memo = filepath.Join(dir, "agibake", "state")
	}
	return Serve(ctx, in, out, o)
}
