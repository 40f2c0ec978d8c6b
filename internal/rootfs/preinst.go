package rootfs

import (
	"context"
	"fmt"
	"strings"

	"github.com/agibake/agibake/internal/tool"
)

// controlDir is where dpkg keeps the control files of the package that it unpacks: debconf finds them there.
const controlDir = dpkgDir + "tmp.ci"

// preinsts runs `preinst install` of the packages that have one, each after those it pre-depends on. All files stand
// already: what a preinst prepares for its own files it finds done, and of an earlier version there is nothing to ask.
func preinsts(ctx context.Context, r *root, c *chroot, debs []*deb) error {
	for _, d := range dpkgOrder(debs) {
		if s := d.script("preinst"); s == nil || idle(string(s.data)) {
			continue
		}
		if err := preinst(ctx, r, c, d); err != nil {
			return err
		}
	}
	return r.removeAll(controlDir)
}

func preinst(ctx context.Context, r *root, c *chroot, d *deb) error {
	if err := r.removeAll(controlDir); err != nil {
		return err
	}
	for _, f := range append(d.scripts, controlFile{"control", []byte(d.control.text), 0o644, c.epoch}) {
		if err := r.writeFile(controlDir+"/"+f.name, f.data, f.mode, f.mtime); err != nil {
			return err
		}
	}
	var out scriptLog
	cmd := c.command(&out, "/"+controlDir+"/preinst", "install")
	cmd.Env = c.env("DPKG_MAINTSCRIPT_NAME=preinst", "DPKG_MAINTSCRIPT_PACKAGE="+d.Name, "DPKG_MAINTSCRIPT_ARCH="+d.Architecture,
		"DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1", "DPKG_RUNNING_VERSION=1.21.1", "DPKG_ADMINDIR=/var/lib/dpkg", "DPKG_ROOT=")
	if err := tool.Run(ctx, cmd); err != nil {
		return fmt.Errorf("preinst of package %s: %w; it said:\n%s", d.Name, err, lastLines(string(out.text), 20))
	}
	return nil
}

// idle tells whether a preinst does nothing on a first installation: only dpkg-maintscript-helper(1) calls, each of
// which is about an earlier version.
func idle(script string) bool {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && line != "set -e" && line != "exit 0" && !helperCall(line) {
			return false
		}
	}
	return true
}

func helperCall(line string) bool {
	return strings.HasPrefix(line, "dpkg-maintscript-helper ") && strings.HasSuffix(line, ` -- "$@"`) && !strings.ContainsAny(line, ";&|`(")
}

// dpkgOrder is an order in which dpkg could unpack: base-passwd first, as it makes the table of users that the others
// look names up in, and each package after those it pre-depends on.
func dpkgOrder(debs []*deb) []*deb {
	byName := map[string]*deb{}
	for _, d := range debs {
		byName[d.Name] = d
	}
	var order []*deb
	seen := map[*deb]bool{}
	var visit func(d *deb)
	visit = func(d *deb) {
		if d == nil || seen[d] {
			return
		}
		seen[d] = true
		for _, r := range d.control.relations("Pre-Depends") {
			visit(byName[r.name])
		}
		order = append(order, d)
	}
	visit(byName["base-passwd"])
	for _, d := range sortedByName(debs) {
		visit(d)
	}
	return order
}

// withAwk lends the system an awk, on which scripts may always rely and which is there only when mawk is configured.
func withAwk(r *root, run func() error) error {
	if r.exists("usr/bin/awk") || !r.exists("usr/bin/mawk") {
		return run()
	}
	if err := r.symlink("mawk", "usr/bin/awk"); err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	return r.removeAll("usr/bin/awk")
}
