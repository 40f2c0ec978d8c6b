package rootfs

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// emptied are folders whose content says only that a build ran. What packages ship there stays.
var emptied = []string{"run", "tmp", "var/tmp", "dev", "proc", "sys", "var/lib/apt/lists", "var/cache/apt", "var/cache/apparmor", "root/.cache"}

// removed are files that hold the identity of one machine, caches that are made anew, and backups of earlier steps.
// The last element may be a pattern (path.Match).
var removed = []string{
	"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
	"var/lib/dpkg/*-old", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock",
	"var/cache/debconf/*-old", "var/lib/ucf/*.[0-9]", "var/cache/ldconfig/aux-cache", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
	"var/lib/dbus/machine-id", "etc/ssh/ssh_host_*", "etc/hostname", "var/lib/apt/extended_states",
}

// normalise takes out what would differ from build to build, and the identity that only a first boot may give.
func (r *root) normalise(o Options, shipped map[string]bool) error {
	for _, dir := range emptied {
		if err := r.empty(dir, func(name string) bool { return shipped[name] }); err != nil {
			return err
		}
	}
	for _, pattern := range removed {
		if err := r.removeMatches(pattern); err != nil {
			return err
		}
	}
	if err := r.cleanLogs("var/log"); err != nil {
		return err
	}
	if err := r.fixShadow(o.Epoch); err != nil {
		return err
	}
	if o.Kind != System {
		return nil
	}
	// An empty machine-id says "not yet": systemd makes one at first boot (machine-id(5)).
	if err := r.writeFile("etc/machine-id", nil, 0o444, o.Epoch); err != nil {
		return err
	}
	if r.exists("usr/lib/systemd/systemd-resolved") {
		return r.symlink("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf")
	}
	return nil
}

// empty removes everything below dir but the paths to keep and the folders on the way to them.
func (r *root) empty(dir string, keep func(path string) bool) error {
	names, err := r.readDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(dir, n)
		if !keep(name) {
			err = r.removeAll(name)
		} else if s, serr := r.stat(name); serr == nil && s.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = r.empty(name, keep)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *root) removeMatches(pattern string) error {
	dir, base := path.Split(pattern)
	names, err := r.readDir(path.Clean(dir))
	if err != nil {
		return err
	}
	for _, n := range names {
		if ok, _ := path.Match(base, n); !ok {
			continue
		}
		if err := r.removeAll(dir + n); err != nil {
			return err
		}
	}
	return nil
}

// shippedPaths are the paths that packages brought.
func shippedPaths(debs []*deb) map[string]bool {
	paths := map[string]bool{}
	for _, d := range debs {
		for _, p := range d.list {
			paths[mergedPath(strings.TrimPrefix(p, "/"))] = true
		}
	}
	return paths
}

// cleanLogs empties or removes the logs: files that a login writes to are kept, empty, for their owner and mode.
func (r *root) cleanLogs(dir string) error {
	names, err := r.readDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(dir, n)
		s, err := r.stat(name)
		if err != nil {
			return fmt.Errorf("stat %s: %w", name, err)
		}
		switch {
		case s.Mode&unix.S_IFMT == unix.S_IFDIR:
			err = r.cleanLogs(name)
		case n == "wtmp" || n == "btmp" || n == "lastlog":
			err = r.truncate(name)
		default:
			err = r.removeAll(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *root) truncate(name string) error {
	fd, err := r.open(name, unix.O_WRONLY|unix.O_TRUNC|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("empty %s: %w", name, err)
	}
	return unix.Close(fd)
}

// fixShadow puts the epoch's day where the tools wrote the day of the last password change (shadow(5), field 3).
func (r *root) fixShadow(epoch int64) error {
	if !r.exists("etc/shadow") {
		return nil
	}
	data, err := r.readFile("etc/shadow")
	if err != nil {
		return err
	}
	var w strings.Builder
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, ":"); len(f) > 3 && f[2] != "" && f[2] != "0" {
			f[2] = strconv.FormatInt(epoch/86400, 10)
			line = strings.Join(f, ":")
		}
		w.WriteString(line)
	}
	fd, err := r.open("etc/shadow", unix.O_WRONLY|unix.O_TRUNC|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("rewrite etc/shadow: %w", err)
	}
	return writeAndClose(fd, w.String())
}
