package configure

import (
	"fmt"
	"path"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
)

type share = recipe.Share

// shareType says how one kind of share is mounted.
type shareType struct {
	fsType  string
	options string // always set
	network bool   // comes over the network
	helper  string // mount(8) helper or program that must be installed, "" for none
	pkg     string // package that holds the helper
}

var shareTypes = map[string]shareType{
	"nfs":      {"nfs", "soft,timeo=100,retrans=3", true, "sbin/mount.nfs", "nfs-common"},
	"smb":      {"cifs", "", true, "sbin/mount.cifs", "cifs-utils"},
	"virtiofs": {"virtiofs", "", false, "", ""},
	"9p":       {"9p", "trans=virtio,version=9p2000.L,msize=262144", false, "", ""},
	"vboxsf":   {"vboxsf", "", false, "", ""},
	"vmhgfs":   {"fuse.vmhgfs-fuse", "allow_other", false, "usr/bin/vmhgfs-fuse", "open-vm-tools"},
}

// shares writes a mount unit for each share. None is required by anything: a share that is not there costs only itself.
func shares(b *builder, o Options) error {
	network := false
	for _, s := range o.Lock.Recipe.Shares {
		kind, ok := shareTypes[s.Type]
		if !ok {
			return input(fmt.Errorf("share %s: unknown type %q", s.Target, s.Type))
		}
		if kind.helper != "" && !b.exists(kind.helper) {
			return input(fault.Hint(fmt.Errorf("share %s: %s shares need /%s", s.Target, s.Type, kind.helper), "add the package "+kind.pkg+" to base.packages"))
		}
		if err := shareUnit(b, s, kind); err != nil {
			return input(fmt.Errorf("share %s: %w", s.Target, err))
		}
		network = network || kind.network
	}
	if !network {
		return nil
	}
	return b.text(unitDir+"agi-online.service", onlineUnit)
}

// onlineUnit stands in for systemd-networkd-wait-online.service, which is masked: only network shares wait for it.
const onlineUnit = `[Unit]
Description=Wait up to a minute for the network, for shares
After=systemd-networkd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/lib/systemd/systemd-networkd-wait-online --any --timeout=60
`

func shareUnit(b *builder, s share, kind shareType) error {
	if !strings.HasPrefix(s.Target, "/") || path.Clean(s.Target) != s.Target || s.Target == "/" {
		return fmt.Errorf("target %q: want a clean absolute path", s.Target)
	}
	if s.Source == "" {
		return fmt.Errorf("no source")
	}
	for _, v := range []string{s.Source, s.Target, s.Options} {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q: control characters", v)
		}
	}
	options := strings.Trim(kind.options+","+s.Options, ",")
	var u strings.Builder
	fmt.Fprintf(&u, "[Unit]\nDescription=Share %s\n", specifiers(s.Target))
	if kind.network {
		u.WriteString("Wants=agi-online.service\nAfter=agi-online.service\n")
	}
	// Not part of local-fs.target or remote-fs.target, which the boot would wait for.
	u.WriteString("DefaultDependencies=no\nAfter=local-fs.target agi-state.service\nBefore=umount.target\nConflicts=umount.target\n\n[Mount]\n")
	fmt.Fprintf(&u, "What=%s\nWhere=%s\nType=%s\n", specifiers(s.Source), specifiers(s.Target), kind.fsType)
	if options != "" {
		fmt.Fprintf(&u, "Options=%s\n", specifiers(options))
	}
	u.WriteString("TimeoutSec=60\n\n[Install]\nWantedBy=agi-core.target\n")
	name := escapePath(s.Target) + ".mount"
	if b.out.Lookup(unitDir[1:]+name) != nil {
		return fmt.Errorf("two shares at one place")
	}
	if err := b.text(unitDir+name, u.String()); err != nil {
		return err
	}
	return b.enable(name)
}

// specifiers keeps systemd from reading % in a value (systemd.unit(5), SPECIFIERS).
func specifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// escapePath names a mount unit after its path (systemd.unit(5), STRING ESCAPING FOR INCLUSION IN UNIT NAMES).
func escapePath(p string) string {
	p = strings.Trim(path.Clean(p), "/")
	if p == "" {
		return "-"
	}
	var out strings.Builder
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '/':
			out.WriteByte('-')
		case c == '.' && i == 0, !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.", rune(c)):
			fmt.Fprintf(&out, `\x%02x`, c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
