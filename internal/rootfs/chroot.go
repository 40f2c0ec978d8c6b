package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/tool"
)

// chroot runs the system's own programs inside the tree, in an environment that is the same on every host.
type chroot struct {
	dir    string
	epoch  int64
	mounts []string
}

// The device nodes that packages' scripts use, bound from the host because a user namespace may not make any.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// mount puts a minimal /dev, /proc and an empty /sys over the tree's: an empty one, because scripts that look at the
// build host's hardware would make trees that differ.
func (c *chroot) mount() error {
	for _, m := range []struct{ kind, at, opts string }{{"tmpfs", "dev", "mode=755"}, {"tmpfs", "sys", "mode=755"}, {"proc", "proc", ""}} {
		at := filepath.Join(c.dir, m.at)
		if s, err := os.Lstat(at); err != nil || !s.IsDir() {
			return inputError("the packages bring no folder /%s: base-files is needed", m.at)
		}
		err := unix.Mount(m.kind, at, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, m.opts)
		if err != nil && m.kind == "proc" {
			err = unix.Mount("/proc", at, "", unix.MS_BIND|unix.MS_REC, "") // where /proc is masked no new one may be mounted
		}
		if err != nil {
			return fmt.Errorf("mount /%s: %w", m.at, err)
		}
		c.mounts = append(c.mounts, at)
	}
	dev := filepath.Join(c.dir, "dev")
	for _, name := range devices {
		node := filepath.Join(dev, name)
		if err := os.WriteFile(node, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, node, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind /dev/%s: %w", name, err)
		}
		c.mounts = append(c.mounts, node)
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(dev, "shm"), 0o1777)
}

func (c *chroot) unmount() error {
	for _, at := range slices.Backward(c.mounts) {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
	c.mounts = nil
	return nil
}

// env is the whole environment of every program in the tree.
func (c *chroot) env(more ...string) []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "LANG=C.UTF-8",
		"TZ=UTC", "DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "DEBCONF_NOWARNINGS=yes",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(c.epoch, 10), "PYTHONHASHSEED=0", "PERL_HASH_SEED=0",
	}, more...)
}

// command is a run of a program in the tree, its stdout and stderr going to out in the order they are written.
func (c *chroot) command(out io.Writer, name string, args ...string) tool.Cmd {
	return tool.Cmd{
		Name: "/bin/sh", Args: append([]string{"-c", `exec "$0" "$@" 2>&1`, name}, args...), Dir: "/", Env: c.env(), Stdout: out,
		Attr: &syscall.SysProcAttr{Chroot: c.dir},
	}
}

// compareVersions tells whether VERSION OP OTHER holds, OP as in deb-control(5).
func (c *chroot) compareVersions(ctx context.Context, version, op, other string) (bool, error) {
	err := tool.Run(ctx, c.command(nil, "/usr/bin/dpkg", "--compare-versions", version, op, other))
	if tool.ExitCode(err) == 1 {
		return false, nil
	}
	return err == nil, err
}
