package configure

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/seed"
	"github.com/agibake/agibake/internal/tree"
	"github.com/agibake/agibake/internal/wire"
)

// fixed holds the files that are the same in every appliance, at their place in the system.
//
//go:embed all:files
var fixed embed.FS

var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?$`)

// system places the fixed files, the host name and what says who may come in.
func system(b *builder, o Options) error {
	err := fs.WalkDir(fixed, "files", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fixed.ReadFile(name)
		if err != nil {
			return err
		}
		mode := uint32(0o644)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755
		}
		return b.file(strings.TrimPrefix(name, "files"), data, mode)
	})
	if err != nil {
		return err
	}
	host := o.hostname()
	if !hostName.MatchString(host) {
		return input(fmt.Errorf("access.hostname %q: not a host name", host))
	}
	texts := [][2]string{
		{"/etc/hostname", host + "\n"},
		{"/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 " + host + "\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"},
		{"/etc/ssh/sshd_config.d/10-agibake.conf", sshd(o.Lock.Recipe.Access.Users)},
		{"/etc/issue.d/agibake.issue", issue(o.Lock.Recipe)},
		// Nothing is left to do after an update of /usr: without these two, systemd-sysusers would run at each boot.
		{"/etc/.updated", ""}, {"/var/.updated", ""},
	}
	for _, t := range texts {
		if err := b.text(t[0], t[1]); err != nil {
			return err
		}
	}
	if b.exists("lib/systemd/system/systemd-resolved.service") {
		return b.link("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
	}
	return nil
}

// sshd returns the server's settings: keys only. Host keys are named so that sshd does not miss the slow RSA one.
func sshd(users []recipe.User) string {
	root := "no"
	for _, u := range users {
		if u.Name == "root" {
			root = "prohibit-password"
		}
	}
	return "# Logins are by key. The agent makes these host keys at the first boot.\n" +
		"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin " + root + "\nUseDNS no\n" +
		"HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/ssh/ssh_host_ecdsa_key\n"
}

// issue returns what the console shows above its login prompt (agetty(8): \4 is the machine's address).
func issue(r recipe.Recipe) string {
	port := r.Agent.Listen[strings.LastIndexByte(r.Agent.Listen, ':')+1:]
	plain := strings.NewReplacer(`\`, `\\`, "\n", " ").Replace(r.Name + " " + r.Version)
	if port == "" {
		return plain + "\n\n"
	}
	return plain + ": status at http://\\4:" + port + "/\n\n"
}

// cloudInit settles what cloud-init may do, where it is installed.
func cloudInit(b *builder, o Options) error {
	if !b.exists("etc/cloud/cloud.cfg") {
		return nil
	}
	so := seed.Options{InstanceID: "agibake-" + shortDigest(o.LockDigest), Hostname: o.hostname()}
	if us := o.Lock.Recipe.Access.Users; len(us) > 0 && us[0].Name != "root" {
		u := us[0]
		so.User = &seed.User{Name: u.Name, Sudo: u.Sudo, Groups: u.Groups, Shell: orBash(u.Shell)}
	}
	data, err := seed.Config(so)
	if err != nil {
		return err
	}
	if err := b.file("/etc/cloud/cloud.cfg.d/95-agibake.cfg", data, 0o644); err != nil {
		return err
	}
	return b.text("/etc/cloud/ds-identify.cfg", seed.Identify())
}

func shortDigest(d string) string {
	_, hex, ok := strings.Cut(d, ":")
	if !ok {
		hex = d
	}
	return hex[:min(12, len(hex))]
}

func orBash(shell string) string {
	if shell == "" {
		return "/bin/bash"
	}
	return shell
}

// fstab mounts by UUID. The state is not in it: the agent mounts it, and systemd would take down a mount of fstab whose
// device udev has not come to yet.
func fstab(b *builder, o Options) error {
	for _, u := range []string{o.SystemUUID, o.ESPVolumeID} {
		if u == "" || strings.ContainsAny(u, " \t\n#") {
			return fmt.Errorf("file system id %q is not usable in fstab", u)
		}
	}
	for _, dir := range []string{wire.StateRoot, "/boot/efi"} {
		if p, err := b.place(dir); err != nil {
			return err
		} else if b.all.Lookup(p) == nil {
			if err := b.dir(dir, 0o755, 0, 0); err != nil {
				return err
			}
		}
	}
	return b.text("/etc/fstab", "# Written by agibake. agi-state.service mounts the state at "+wire.StateRoot+".\n"+
		"UUID="+o.SystemUUID+" / ext4 noatime,errors=remount-ro 0 1\n"+
		"UUID="+o.ESPVolumeID+" /boot/efi vfat umask=0077,noauto,nofail,x-systemd.automount,x-systemd.idle-timeout=1min 0 0\n")
}

// containers places nothing in the system: their compose file is part of the state. It makes sure that they can run.
func containers(b *builder, o Options) error {
	if len(o.Lock.Recipe.Containers) == 0 {
		return nil
	}
	if _, err := compose(o); err != nil {
		return err
	}
	if !b.exists("usr/bin/dockerd") || !b.exists(composeProgram) {
		return input(fault.Hint(errors.New("the recipe has containers, but docker or compose is not installed"), "add the packages docker.io and docker-compose-v2 to base.packages"))
	}
	return nil
}

// AgentPath is where the agent stands in the system's tree.
const AgentPath = "usr/lib/agibake/agid"

// agent places the agent and tells it what this appliance is.
func agent(b *builder, o Options) error {
	e, err := contents(o.Agid)
	if err != nil {
		return fmt.Errorf("agent program: %w", err)
	}
	e.Type, e.Mode = tree.File, 0o755
	if err := b.put("/"+AgentPath, e); err != nil {
		return err
	}
	data, err := agentConfig(o)
	if err != nil {
		return err
	}
	return b.file(wire.ConfigPath, data, 0o644)
}
