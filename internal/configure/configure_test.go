package configure

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
)

const epoch = 1700000000

// base is a small system with merged /usr.
func base(t *testing.T) *tree.Tree {
	t.Helper()
	b := tree.New()
	for name, text := range map[string]string{
		"etc/passwd":          "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
		"etc/shadow":          "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
		"etc/group":           "root:x:0:\ndaemon:x:1:\nadm:x:4:\nsudo:x:27:\ndocker:x:118:\nfuse:x:119:daemon\n",
		"etc/gshadow":         "root:*::\ndaemon:*::\nadm:*::\nsudo:*::\ndocker:!::\nfuse:!::daemon\n",
		"etc/subuid":          "other:100000:65536\n",
		"etc/skel/.profile":   "umask 027\n",
		"etc/sudoers":         "@includedir /etc/sudoers.d\n",
		"etc/cloud/cloud.cfg": "users: [default]\n",
		"usr/bin/bash":        "#!",
		"usr/bin/dockerd":     "#!", "usr/libexec/docker/cli-plugins/docker-compose": "#!",
		"usr/sbin/mount.nfs":                                          "#!",
		"usr/lib/os-release":                                          "NAME=\"Ubuntu\"\nID=ubuntu\n",
		"boot/vmlinuz-5.15.0-99-generic":                              "old",
		"boot/initrd.img-5.15.0-99-generic":                           "old",
		"boot/vmlinuz-5.15.0-204-generic":                             "new",
		"boot/initrd.img-5.15.0-204-generic":                          "new",
		"usr/lib/shim/shimx64.efi.signed.next":                        "shim",
		"usr/lib/shim/mmx64.efi":                                      "mm",
		"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed":           "grub",
		"usr/lib/grub/i386-pc/boot.img":                               "boot",
		"usr/lib/agibake/core.img":                                    "core",
		"usr/lib/systemd/system/docker.service":                       "[Unit]\nAfter=network-online.target containerd.service\nWants=network-online.target\nWants=containerd.service\n[Service]\nExecStart=/usr/bin/dockerd\n[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/systemd/system/ssh.service":                          "[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n",
		"usr/lib/systemd/system/systemd-networkd.service":             "[Install]\nWantedBy=multi-user.target\nAlso=systemd-networkd.socket\nAlso=systemd-networkd-wait-online.service\n",
		"usr/lib/systemd/system/systemd-networkd.socket":              "[Install]\nWantedBy=sockets.target\n",
		"usr/lib/systemd/system/systemd-networkd-wait-online.service": "[Install]\nWantedBy=network-online.target\n",
		"usr/lib/systemd/system/systemd-resolved.service":             "[Install]\nAlias=dbus-org.freedesktop.resolve1.service\n",
		"usr/lib/systemd/system/apt-daily.timer":                      "[Install]\nWantedBy=timers.target\n",
	} {
		if err := b.WriteFile(name, []byte(text), 0o644, 1600000000); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "etc/os-release": "../usr/lib/os-release",
		"usr/lib/shim/shimx64.efi.signed": "/etc/alternatives/shim", "etc/alternatives/shim": "/usr/lib/shim/shimx64.efi.signed.next",
		"etc/escape": "../../../../etc", "etc/machine-id": "/run/machine-id",
	} {
		if err := b.Symlink(to, name, 1600000000); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []tree.Entry{
		{Path: "etc/sudoers.d", Type: tree.Dir, Mode: 0o750, ModTime: 1600000000},
		{Path: "etc/shadow", Mode: 0o640, GID: 42, ModTime: 1600000000, Size: b.Lookup("etc/shadow").Size, Open: b.Lookup("etc/shadow").Open},
	} {
		if err := b.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// options asks for one of everything.
func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"agid": "agent", "m": "weights", "f": "sourced"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	temp := 0.2
	r := recipe.Recipe{
		Name: "saiga", Version: "1.0.0",
		Access: recipe.Access{Hostname: "saiga", Users: []recipe.User{
			{Name: "agi", Sudo: true, Groups: []string{"fuse"}, AuthorizedKeys: []string{"ssh-ed25519 AAAA me"}},
		}},
		Containers: []recipe.Container{
			{Name: "web", Ports: []string{"80:80"}, Args: []string{"$HOME"}},
			{Name: "model", Ports: []string{"127.0.0.1:8081:8081"}, Args: []string{"--model", "/models/s.gguf"}, Mounts: []string{"models:/models:ro"}, Env: map[string]string{"B": "2", "A": "1"}, GPU: true},
		},
		Models: []recipe.Model{{Name: "saiga", File: "s.gguf"}},
		Files: []recipe.File{
			{Path: "/etc/motd", Content: "hello\n"},
			{Path: "/lib/agi/tool", Source: "./tool", Mode: "4755", Owner: "agi:docker"},
			{Path: "/etc/escape/x", Content: "inside\n"},
			{Path: "/var/lib/agi-core/memory/seed.txt", Content: "remember\n"},
		},
		Units:  []recipe.Unit{{Name: "extra.service", Content: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target \\\n  graphical.target", Enable: true}},
		Shares: []recipe.Share{{Type: "nfs", Source: "host:/100%", Target: "/mnt/my-texts", Options: "ro"}, {Type: "virtiofs", Source: "tag", Target: "/srv/.x y"}},
		Agent: recipe.Agent{
			Listen: ":8443", Startup: recipe.Startup{Greeting: "Кто ты?"}, Modes: map[string]recipe.Mode{"RECURSIA": {SystemPrompt: "s", Temperature: &temp}},
		},
		SelfTest: recipe.SelfTest{Timeout: "5m", Require: []string{"model", "docker"}},
	}
	return Options{
		Lock: &lock.Lock{
			Epoch: epoch, Recipe: r, Models: []lock.File{{Name: "saiga", Path: "s.gguf", Size: 7, SHA256: "m"}},
			Files:      []lock.File{{Path: "/lib/agi/tool", Size: 7, SHA256: "f"}},
			Containers: []lock.Container{{Name: "model", Reference: "example.org/server:1"}, {Name: "web", Reference: "web:1"}},
		},
		LockDigest: "sha256:0123456789abcdef", Base: base(t), Agid: filepath.Join(dir, "agid"),
		SystemUUID: "11111111-2222-8333-8444-555555555555", StateUUID: "66666666-7777-8888-9999-000000000000", ESPVolumeID: "ABCD-1234",
		OpenInput: func(sum string) (fs.File, error) { return os.Open(filepath.Join(dir, sum)) },
	}
}

// dump shows a tree as one readable map: path → mode, owner, time where it is not the epoch, and content of short files.
func dump(t *testing.T, tr *tree.Tree) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, e := range tr.Entries() {
		s := fmt.Sprintf("%04o", e.Mode)
		if e.UID|e.GID != 0 {
			s += fmt.Sprintf(" %d:%d", e.UID, e.GID)
		}
		switch e.Type {
		case tree.Dir:
			s = "dir " + s
		case tree.Symlink:
			s = "-> " + e.Link
		case tree.File:
			s = "file " + s
			if text := content(t, e); len(text) < 300 && !strings.HasPrefix(text, "#") {
				s += " " + text
			}
		default:
			t.Errorf("%s: type %d", e.Path, e.Type)
		}
		m[e.Path] = s
	}
	return m
}

func content(t *testing.T, e *tree.Entry) string {
	t.Helper()
	if e.Open == nil {
		return ""
	}
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != e.Size {
		t.Errorf("%s: size %d, content %d", e.Path, e.Size, len(data))
	}
	return string(data)
}

func layer(t *testing.T, o Options) *tree.Tree {
	t.Helper()
	out, err := Layer(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// golden compares a dump with testdata/NAME; AGIBAKE_UPDATE=1 writes it.
func golden(t *testing.T, name string, m map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, p := range sortedKeys(m) {
		fmt.Fprintf(&b, "%s\t%s\n", p, strings.ReplaceAll(strings.TrimSuffix(m[p], "\n"), "\n", "\n\t"))
	}
	file := filepath.Join("testdata", name)
	if os.Getenv("AGIBAKE_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got; AGIBAKE_UPDATE=1 accepts):\n%s", name, diff)
	}
}

func TestLayer(t *testing.T) {
	o := options(t)
	out := layer(t, o)
	golden(t, "layer.txt", dump(t, out))
	for _, e := range out.Entries() {
		if old := o.Base.Lookup(e.Path); e.ModTime != epoch && e.Path != "." && (old == nil || e.ModTime != old.ModTime) {
			t.Errorf("%s: time %d", e.Path, e.ModTime)
		}
	}
	if diff := cmp.Diff(dump(t, out), dump(t, layer(t, o))); diff != "" {
		t.Errorf("two layers of the same lock differ:\n%s", diff)
	}
	if o.Base.Lookup("etc/hostname") != nil {
		t.Error("the base tree was changed")
	}
}

func TestState(t *testing.T) {
	out, err := State(t.Context(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	m := dump(t, out)
	m["docker/compose.yaml"] = content(t, out.Lookup("docker/compose.yaml"))
	golden(t, "state.txt", m)
}

func TestBootChain(t *testing.T) {
	o := options(t)
	esp, err := ESP(o.Base, o)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "esp.txt", dump(t, esp))
	boot, core, err := BIOS(o.Base)
	if err != nil || string(boot) != "boot" || string(core) != "core" {
		t.Errorf("BIOS = %q, %q, %v", boot, core, err)
	}
	menu := content(t, layer(t, o).Lookup("boot/grub/grub.cfg"))
	for _, want := range []string{"/boot/vmlinuz-5.15.0-204-generic root=UUID=" + o.SystemUUID + " ro ", "initrd /boot/initrd.img-5.15.0-204-generic\n", "menuentry 'saiga 1.0.0'"} {
		if !strings.Contains(menu, want) {
			t.Errorf("grub.cfg lacks %q:\n%s", want, menu)
		}
	}
	if strings.Contains(menu, "\n\tinsmod") || strings.Contains(menu, "\ninsmod") {
		t.Error("grub.cfg loads a module")
	}
}

func TestBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options, *recipe.Recipe)
		want   string
	}{
		"escape":         {func(_ *Options, r *recipe.Recipe) { r.Files[0].Path = "/etc/../../x" }, "not a clean absolute path"},
		"relative":       {func(_ *Options, r *recipe.Recipe) { r.Files[0].Path = "etc/x" }, "not a clean absolute path"},
		"folder":         {func(_ *Options, r *recipe.Recipe) { r.Files[0].Path = "/usr/lib" }, "is a folder"},
		"through file":   {func(_ *Options, r *recipe.Recipe) { r.Files[0].Path = "/etc/passwd/x" }, "no folder"},
		"mode":           {func(_ *Options, r *recipe.Recipe) { r.Files[0].Mode = "0888" }, "want octal"},
		"owner":          {func(_ *Options, r *recipe.Recipe) { r.Files[0].Owner = "nobodyx" }, "not in the system"},
		"user name":      {func(_ *Options, r *recipe.Recipe) { r.Access.Users[0].Name = "a:b" }, "not a valid login"},
		"group":          {func(_ *Options, r *recipe.Recipe) { r.Access.Users[0].Groups = []string{"nope"} }, `group "nope"`},
		"shell":          {func(_ *Options, r *recipe.Recipe) { r.Access.Users[0].Shell = "/bin/zsh" }, "/bin/zsh is not in"},
		"key":            {func(_ *Options, r *recipe.Recipe) { r.Access.Users[0].AuthorizedKeys = []string{"a b\nc d"} }, "not one line"},
		"host name":      {func(_ *Options, r *recipe.Recipe) { r.Access.Hostname = "a b" }, "not a host name"},
		"unit name":      {func(_ *Options, r *recipe.Recipe) { r.Units[0].Name = "../x.service" }, "not a unit name"},
		"unit taken":     {func(_ *Options, r *recipe.Recipe) { r.Units[0].Name = "agid.service" }, "already"},
		"no install":     {func(_ *Options, r *recipe.Recipe) { r.Units[0].Content = "[Service]\n" }, "no [Install]"},
		"share type":     {func(_ *Options, r *recipe.Recipe) { r.Shares[0].Type = "ftp" }, "unknown type"},
		"share helper":   {func(_ *Options, r *recipe.Recipe) { r.Shares[0].Type = "smb" }, "mount.cifs"},
		"share twice":    {func(_ *Options, r *recipe.Recipe) { r.Shares[1].Target = r.Shares[0].Target }, "two shares"},
		"share newline":  {func(_ *Options, r *recipe.Recipe) { r.Shares[0].Source = "a\nb" }, "control characters"},
		"port":           {func(_ *Options, r *recipe.Recipe) { r.Containers[1].Ports = []string{"x:1"} }, "x:1"},
		"mount":          {func(_ *Options, r *recipe.Recipe) { r.Containers[1].Mounts = []string{"../etc:/x"} }, "../etc:/x"},
		"image":          {func(o *Options, _ *recipe.Recipe) { o.Lock.Containers = nil }, "no image"},
		"no docker":      {func(o *Options, _ *recipe.Recipe) { o.Base.Remove("usr/bin/dockerd") }, "docker or compose is not installed"},
		"no kernel":      {func(o *Options, _ *recipe.Recipe) { o.Base.Remove("boot") }, "no kernel"},
		"no sudo":        {func(o *Options, _ *recipe.Recipe) { o.Base.Remove("etc/sudoers") }, "sudo"},
		"file not there": {func(o *Options, _ *recipe.Recipe) { o.Lock.Files = nil }, "not in the lock"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			c.change(&o, &o.Lock.Recipe)
			out, err := Layer(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) || out != nil {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if fault.KindOf(err) != fault.Input {
				t.Errorf("kind %d, want %d: %v", fault.KindOf(err), fault.Input, err)
			}
		})
	}
	o := options(t)
	if err := o.Base.WriteFile("etc/ssh/ssh_host_rsa_key", []byte("secret"), 0o600, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Layer(t.Context(), o); err == nil {
		t.Error("a base with host keys was taken")
	}
}

func TestStateBadInput(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"model escapes":    func(o *Options) { o.Lock.Models[0].Path = "../../x" },
		"size differs":     func(o *Options) { o.Lock.Models[0].Size = 8 },
		"model missing":    func(o *Options) { o.Lock.Models[0].SHA256 = "none" },
		"foreign folder":   func(o *Options) { o.Lock.Recipe.Files[3].Path = "/var/lib/agi-core/other/x" },
		"replaces compose": func(o *Options) { o.Lock.Recipe.Files[3].Path = "/var/lib/agi-core/docker/compose.yaml" },
	} {
		o := options(t)
		change(&o)
		if _, err := State(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
