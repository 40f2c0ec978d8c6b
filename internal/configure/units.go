package configure

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|timer|path|mount|automount|swap|slice)$`)

const unitDir = "/etc/systemd/system/"

// units places the recipe's units.
func units(b *builder, o Options) error {
	for _, u := range o.Lock.Recipe.Units {
		p := unitDir + u.Name
		switch {
		case !unitName.MatchString(u.Name) || len(u.Name) > 255:
			return input(fmt.Errorf("unit %q: not a unit name", u.Name))
		case b.out.Lookup(p[1:]) != nil:
			return input(fmt.Errorf("unit %s: a unit of this name is there already", u.Name))
		}
		if err := b.text(p, endLine(u.Content)); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the system's units that an appliance needs, enabled where they are installed.
var wanted = []string{
	"ssh.service", "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service",
	"containerd.service", "docker.service",
}

// masked are units that would slow the boot or change the system behind its owner's back.
var masked = []struct{ unit, why string }{
	{"systemd-networkd-wait-online.service", "offline is a supported condition; nothing but shares waits for the network"},
	{"apt-daily.timer", "packages change by a new bake, not by themselves"},
	{"apt-daily-upgrade.timer", "as apt-daily"},
	{"unattended-upgrades.service", "as apt-daily"},
	{"motd-news.timer", "calls home"},
	{"ua-timer.timer", "calls home"},
	{"ubuntu-advantage.service", "calls home"},
	{"apport.service", "calls home"},
	{"whoopsie.service", "calls home"},
	{"snapd.service", "seeds itself for half a minute at the first boot"},
	{"snapd.socket", "as snapd"},
	{"snapd.seeded.service", "as snapd"},
	{"multipathd.service", "one virtual disk has one path; it waits for udev to settle"},
	{"multipathd.socket", "as multipathd"},
	{"iscsid.socket", "no disk over the network"},
	{"open-iscsi.service", "no disk over the network"},
	{"e2scrub_reap.service", "cleans up LVM snapshots, of which there are none"},
	{"e2scrub_all.timer", "checks LVM volumes, of which there are none"},
	{"grub-common.service", "records boots for GRUB's menu, which this boot chain does not use"},
	{"grub-initrd-fallback.service", "as grub-common"},
	{"systemd-pstore.service", "virtual machines have no pstore"},
	{"systemd-fsckd.service", "shows the progress of file system checks on a splash screen"},
	{"systemd-fsckd.socket", "as systemd-fsckd"},
	{"rpcbind.service", "an open port that only NFS version 3 needs"},
	{"rpcbind.socket", "as rpcbind"},
}

// enablement masks, then enables: the agent, what an appliance needs, and the recipe's own units.
func enablement(b *builder, o Options) error {
	nfs := slices.ContainsFunc(o.Lock.Recipe.Shares, func(s share) bool { return s.Type == "nfs" })
	for _, m := range masked {
		if nfs && strings.HasPrefix(m.unit, "rpcbind") || b.unit(m.unit) == "" || b.out.Lookup(unitDir[1:]+m.unit) != nil {
			continue
		}
		if err := b.link("/dev/null", unitDir+m.unit); err != nil {
			return err
		}
	}
	for _, u := range []string{"containerd.service", "docker.service"} {
		if err := b.sooner(u); err != nil {
			return err
		}
	}
	for _, u := range wanted {
		if b.unit(u) == "" {
			continue
		}
		if err := b.enable(u); err != nil {
			return err
		}
	}
	if err := b.enable("agi-core.target"); err != nil {
		return err
	}
	for _, u := range o.Lock.Recipe.Units {
		if !u.Enable {
			continue
		}
		if err := b.enable(u.Name); err != nil {
			return input(err)
		}
	}
	return nil
}
