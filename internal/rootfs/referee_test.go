package rootfs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tool"
)

// refereeTask builds the tree of Options the way dpkg does it: essential packages extracted so that scripts can run, then
// `dpkg --unpack` of every .deb and one `dpkg --configure -a`, all by the release's own dpkg. Only normalisation and packing are ours.
func refereeTask(ctx context.Context, input json.RawMessage, p progress.Func) error {
	var o Options
	if err := json.Unmarshal(input, &o); err != nil {
		return err
	}
	debs, err := openDebs(ctx, o.Debs, o.Jobs)
	if err != nil {
		return err
	}
	defer closeDebs(debs)
	r, err := newRoot(o.Work, 3*installedSize(debs))
	if err != nil {
		return err
	}
	defer r.Close()
	listing, err := tool.Output(ctx, "dpkg-deb", "-c", debs[0].Path)
	if err != nil {
		return err
	}
	for _, name := range merged {
		if strings.Contains(string(listing), "./bin -> usr/bin") {
			break // this base-files brings the links itself
		}
		if err := r.mkdirAll("usr/" + name); err != nil {
			return err
		}
		if err := unix.Symlinkat("usr/"+name, r.fd, name); err != nil {
			return err
		}
	}
	for _, d := range essential(debs) {
		p.Step(stage, "extract "+d.Name)
		if err := extractForeign(ctx, d.Path, r.dir); err != nil {
			return err
		}
	}
	if s, _ := r.stat("usr/bin/awk"); s.Mode == 0 {
		r.symlink("mawk", "usr/bin/awk")
	}
	for name, text := range map[string]string{"status": "", "available": "", "info/format": "1\n", "triggers/File": "", "triggers/Unincorp": ""} {
		r.writeFile(dpkgDir+name, []byte(text), 0o644, o.Epoch)
	}
	r.mkdirAll(dpkgDir + "updates")
	c := &chroot{dir: r.dir, epoch: o.Epoch}
	if err := c.mount(); err != nil {
		return err
	}
	if err := r.writeFile(policyRCD, []byte("#!/bin/sh\nexit 101\n"), 0o755, o.Epoch); err != nil {
		return err
	}
	args := []string{"--unpack", "--force-depends", "--force-unsafe-io"}
	for _, d := range dpkgOrder(debs) {
		data, err := os.ReadFile(d.Path)
		if err != nil {
			return err
		}
		name := "tmp/" + filepath.Base(d.Path)
		r.writeFile(name, data, 0o644, 0)
		args = append(args, "/"+name)
	}
	for _, args := range [][]string{args, {"--configure", "-a", "--force-unsafe-io"}} {
		p.Step(stage, "dpkg "+args[0])
		var out scriptLog
		if err := tool.Run(ctx, c.command(&out, "/usr/bin/dpkg", args...)); err != nil {
			return fmt.Errorf("%w: %s", err, out.text)
		}
	}
	r.removeAll(policyRCD)
	core := func(_, name string, args ...string) error { return tool.Run(ctx, c.command(nil, name, args...)) }
	if err := coreImage(r, core); err != nil {
		return err
	}
	if err := c.unmount(); err != nil {
		return err
	}
	for _, d := range debs {
		data, err := r.readFile(dpkgDir + "info/" + d.dpkgName() + ".list")
		if err != nil {
			return err
		}
		d.list = strings.Fields(string(data))
	}
	if err := r.normalise(o, shippedPaths(debs)); err != nil {
		return err
	}
	t, err := r.tree(o.Epoch, nil)
	if err != nil {
		return err
	}
	out, err := os.Create(o.Out)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = layer.Write(ctx, out, t)
	return err
}

func extractForeign(ctx context.Context, deb, dir string) error {
	return tool.Run(ctx, tool.Cmd{Name: "sh", Args: []string{"-c", `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2" -f -`, "sh", deb, dir}})
}

// essential returns the essential packages and all they depend on.
func essential(debs []*deb) []*deb {
	byName := map[string]*deb{}
	for _, d := range debs {
		byName[d.Name] = d
		for _, r := range d.control.relations("Provides") {
			if byName[r.name] == nil {
				byName[r.name] = d
			}
		}
	}
	var list []*deb
	seen := map[*deb]bool{}
	var visit func(d *deb)
	visit = func(d *deb) {
		if d == nil || seen[d] {
			return
		}
		seen[d] = true
		for _, r := range append(d.control.relations("Pre-Depends"), d.control.relations("Depends")...) {
			visit(byName[r.name])
		}
		list = append(list, d)
	}
	for _, d := range debs {
		if strings.EqualFold(d.control.get("Essential"), "yes") || d.Name == "dpkg" {
			visit(d)
		}
	}
	return list
}
