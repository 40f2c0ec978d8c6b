package recipe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agibake/agibake/internal/fault"
)

const head = "apiVersion: agibake/v1\nkind: Appliance\nname: demo\nversion: 1.0.0\n" // lines 1 to 4

var ignorePlaces = cmpopts.IgnoreUnexported(Recipe{})

// write makes files in a new folder, which becomes the working one so that messages are short.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func parse(t *testing.T, o Options) *Recipe {
	t.Helper()
	r, err := Parse("r.yaml", o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFaults(t *testing.T) {
	container := head + "containers:\n  - name: model\n    image: {registry: 'ghcr.io/o/s:1'}\n" // the next line is 8
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "r.yaml:1:1: the file is empty; agibake init writes a recipe to start from"},
		{"a list", "- a\n", "r.yaml:1:1: expected keys with values, found a list"},
		{"no YAML", head + "base: [a\nfoo: b\n", "r.yaml:5:1: not YAML: did not find expected ',' or ']'; " +
			"check the indentation, and put text with any of { } [ ] , : # in quotes"},
		{"tab", head + "base:\n\tpackages: []\n", "r.yaml:6:1: not YAML: found character that cannot start any token"},
		{"two documents", head + "---\n" + head, "r.yaml:5:1: a recipe is one YAML document; a second one begins here"},
		{"key twice", head + "name: x\n", `r.yaml:5:1: key "name" stands twice: first in line 3`},
		{"no header", "name: demo\nversion: 1.0.0\n",
			"r.yaml:1:1: missing key \"apiVersion\"; write apiVersion: agibake/v1\nr.yaml:1:1: missing key \"kind\"; write kind: Appliance"},
		{"another kind", strings.Replace(head, "Appliance", "Pod", 1), `r.yaml:2:7: kind: expected "Appliance", found the text "Pod"; write Appliance`},
		{"no name", "apiVersion: agibake/v1\nkind: Appliance\nversion: 1.0.0\n", `r.yaml:1:1: missing key "name"`},
		{"unknown key", head + "base:\n  packges: [htop]\n", `r.yaml:6:3: unknown key "packges" in base; did you mean "packages"?`},
		{"unknown key, none near", head + "zzz: 1\n", `r.yaml:5:1: unknown key "zzz"`},
		{"merge key", head + "x: &x {a: b}\nbase: {<<: *x}\n", "r.yaml:5:1: unknown key \"x\"\nr.yaml:6:8: unknown key \"<<\" in base"},
		{"unknown tag", head + "base: !relpace {}\n", `r.yaml:5:7: unknown tag "!relpace"; the one tag of a recipe is !replace`},
		{"version as number", strings.Replace(head, "1.0.0", "1.0", 1), `r.yaml:4:10: version: expected text, found the number 1.0; write "1.0"`},
		{"text for number", head + "machine: {cpus: many}\n", `r.yaml:5:17: machine.cpus: expected a whole number, found the text "many"`},
		{"number out of range", head + "machine: {cpus: 0}\n", "r.yaml:5:17: machine.cpus: 0 is not between 1 and 1024"},
		{"fraction", head + "machine: {cpus: 1.5}\n", "r.yaml:5:17: machine.cpus: expected a whole number, found the number 1.5"},
		{"yes for true", head + "machine: {secureBoot: yes}\n", `r.yaml:5:23: machine.secureBoot: expected true or false, found the text "yes"; write true or false`},
		{"decimal size", head + "machine: {memory: 16GB}\n",
			`r.yaml:5:19: machine.memory: expected a size such as 512MiB or 16GiB, found the text "16GB"; write 16GiB`},
		{"huge size", head + "machine: {disk: 9999999999TiB}\n",
			`r.yaml:5:17: machine.disk: expected a size such as 512MiB or 16GiB, found the text "9999999999TiB"`},
		{"text for list", head + "outputs: qcow2\n", `r.yaml:5:10: outputs: expected a list, found the text "qcow2"`},
		{"list for mapping", head + "base: [a]\n", "r.yaml:5:7: base: expected a mapping, found a list"},
		{"mapping for text", head + "access: {hostname: {a: b}}\n", "r.yaml:5:20: access.hostname: expected text, found a mapping"},
		{"bad name", strings.Replace(head, "demo", "Demo_1", 1), `r.yaml:3:7: name: "Demo_1" is not a name of a-z, 0-9 and inner dashes, at most 63 long`},
		{"name with newline", strings.Replace(head, "demo", `"a\nb"`, 1), `r.yaml:3:7: name: the text "a…" holds a control character`},
		{"bad version", strings.Replace(head, "1.0.0", "1.0+b", 1),
			`r.yaml:4:10: version: "1.0+b" is not a version of letters, digits, dots and dashes, such as 1.0.0`},
		{"enum", head + "outputs: [qcow2, vmkd]\n", `r.yaml:5:18: outputs[1]: "vmkd" is not one of raw, qcow2, vmdk, ova; did you mean "vmdk"?`},
		{"output twice", head + "outputs: [qcow2, qcow2]\n", `r.yaml:5:18: outputs[1]: "qcow2" stands twice: first in r.yaml:5:11`},
		{"no outputs", head + "outputs: []\n", "r.yaml:5:10: outputs: must not be empty"},
		{"package", head + "base: {packages: [-oX]}\n", `r.yaml:5:19: base.packages[0]: "-oX" is not a package name`},
		{"Secure Boot without UEFI", head + "machine: {firmware: [bios], secureBoot: true}\n",
			"r.yaml:5:41: machine.secureBoot: Secure Boot needs uefi in machine.firmware"},
		{"system larger than disk", head + "machine: {disk: 8GiB, systemSize: 8GiB}\n",
			"r.yaml:5:35: machine.systemSize: 8GiB does not fit on a disk of 8GiB; the boot partitions take 258MiB and the state at least 64MiB"},
		{"odd memory", head + "machine: {memory: 1025MiB}\n", "r.yaml:5:19: machine.memory: 1025MiB is no multiple of 4MiB"},
		{"two containers", container + "  - name: model\n    image: {registry: 'ghcr.io/o/s:1'}\n",
			`r.yaml:8:11: containers[1].name: two containers of one name: "model" stands in r.yaml:6:11 already`},
		{"no image", head + "containers: [{name: a}]\n", `r.yaml:5:14: missing key "image" in containers[0]`},
		{"two images", head + "containers: [{name: a, image: {registry: 'a/b:1', packages: {distribution: debian, release: testing, include: [x1], entrypoint: [/x]}}}]\n",
			"r.yaml:5:31: containers[0].image: expected one of registry, layout, archive, packages; found packages and registry"},
		{"no include", head + "containers: [{name: a, image: {packages: {distribution: debian, release: testing, entrypoint: [/x]}}}]\n",
			`r.yaml:5:42: missing key "include" in containers[0].image.packages`},
		{"relative entry point", head + "containers: [{name: a, image: {packages: {distribution: debian, release: testing, include: [x1], entrypoint: [x]}}}]\n",
			`r.yaml:5:111: containers[0].image.packages.entrypoint[0]: "x" is not an absolute path`},
		{"reference without tag", head + "containers: [{name: a, image: {registry: 'localhost:5000/a'}}]\n",
			`r.yaml:5:42: containers[0].image.registry: "localhost:5000/a" has neither tag nor digest; write "localhost:5000/a:latest" to follow it`},
		{"no reference", head + "containers: [{name: a, image: {registry: 'A B'}}]\n",
			`r.yaml:5:42: containers[0].image.registry: "A B" is not an image reference such as ghcr.io/org/server:1.0`},
		{"port syntax", container + "    ports: [8081:8081:8081]\n", // not sexagesimal: text in YAML 1.2
			`r.yaml:8:13: containers[0].ports[0]: "8081" is not an IP address`},
		{"port of one side", container + "    ports: ['8081']\n", `r.yaml:8:13: containers[0].ports[0]: "8081" is not a port such as 127.0.0.1:8081:8081`},
		{"port number", container + "    ports: ['80:70000']\n", "r.yaml:8:13: containers[0].ports[0]: port 70000 is not between 1 and 65535"},
		{"port address", container + "    ports: ['1.2.3:80:80']\n", `r.yaml:8:13: containers[0].ports[0]: "1.2.3" is not an IP address`},
		{"port of the agent", container + "    ports: ['8443:80']\n", "r.yaml:8:13: containers[0].ports[0]: port 8443 of the host is taken by agent.listen"},
		{"port twice", container + "    ports: ['127.0.0.1:80:80', '80:81']\n",
			"r.yaml:8:32: containers[0].ports[1]: port 80 of the host is taken by containers[0].ports[0]"},
		{"mount of another folder", container + "    mounts: ['/etc:/etc']\n",
			`r.yaml:8:14: containers[0].mounts[0]: "/etc:/etc" is not a mount such as models:/models:ro, of models, docker, boot, logs or memory`},
		{"mount that escapes", container + "    mounts: ['models/../..:/m']\n",
			`r.yaml:8:14: containers[0].mounts[0]: "models/../.." escapes the tree: .. is not allowed`},
		{"mounts on one place", container + "    mounts: ['models:/m', 'logs:/m:ro']\n", "r.yaml:8:27: containers[0].mounts[1]: two mounts on /m"},
		{"bad environment", container + "    env: {A-B: x}\n", `r.yaml:8:11: containers[0].env.A-B: "A-B" is not a variable name of letters, digits and _`},
		{"number in environment", container + "    env: {A: 1}\n", `r.yaml:8:14: containers[0].env.A: expected text, found the number 1; write "1"`},
		{"gpu without a section", container + "    gpu: true\n",
			`r.yaml:8:10: containers[0].gpu: the recipe has no gpu section; add for example gpu: {driver: "580-server-open"}`},
		{"docker without universe", container + "base: {components: [main]}\n", "r.yaml:8:20: base.components: containers need universe, which holds docker"},
		{"driver", head + "gpu: {driver: newest}\n", `r.yaml:5:15: gpu.driver: "newest" is not a driver branch such as 580-server-open`},
		{"old driver", head + "gpu: {driver: 570-server, cuda: '13.0'}\n",
			"r.yaml:5:15: gpu.driver: driver 570-server is too old for CUDA 13.0, which needs 580 or newer"},
		{"gpu without restricted", head + "gpu: {driver: 580-server}\nbase: {components: [main]}\n",
			"r.yaml:6:20: base.components: the gpu section needs restricted"},
		{"gpu on debian", head + "gpu: {driver: 580-server}\nbase: {distribution: debian}\n",
			"r.yaml:5:6: gpu: signed driver packages come with ubuntu only"},
		{"model outside", head + "models: [{name: a, file: ../a, source: 'https://h/a'}]\n",
			`r.yaml:5:26: models[0].file: "../a" escapes the tree: the path is relative to models/`},
		{"models in one file", head + "models: [{name: a, file: a, source: 'https://h/a'}, {name: b, file: a, source: 'https://h/a'}]\n",
			`r.yaml:5:69: models[1].file: two models in one file: "a" stands in r.yaml:5:26 already`},
		{"model by ftp", head + "models: [{name: a, file: a, source: 'ftp://h/a'}]\n",
			`r.yaml:5:37: models[0].source: "ftp://h/a" begins with none of https:, http:, file:, oci:`},
		{"model by http", head + "models: [{name: a, file: a, source: 'http://h/a'}]\n",
			`r.yaml:5:37: models[0].source: "http://h/a" can be changed on its way; add sha256, or use https`},
		{"sha256", head + "models: [{name: a, file: a, source: 'https://h/a', sha256: abc}]\n",
			`r.yaml:5:60: models[0].sha256: "abc" is not a SHA-256 digest of 64 characters 0-9 and a-f`},
		{"file that escapes", head + "files: [{path: /etc/../../x, content: a}]\n",
			`r.yaml:5:16: files[0].path: "/etc/../../x" escapes the tree: .. is not allowed`},
		{"relative file", head + "files: [{path: etc/x, content: a}]\n", `r.yaml:5:16: files[0].path: "etc/x" is not an absolute path`},
		{"unclean file", head + "files: [{path: /etc//x, content: a}]\n", `r.yaml:5:16: files[0].path: "/etc//x" is not written plainly; write "/etc/x"`},
		{"file in /proc", head + "files: [{path: /proc/x, content: a}]\n",
			`r.yaml:5:16: files[0].path: "/proc/x" cannot hold anything of the recipe: /proc is made by the kernel`},
		{"file twice", head + "files: [{path: /a, content: a}, {path: /a, content: a}]\n",
			`r.yaml:5:40: files[1].path: two files of one path: "/a" stands in r.yaml:5:16 already`},
		{"file mode", head + "files: [{path: /a, content: a, mode: '0888'}]\n", `r.yaml:5:38: files[0].mode: "0888" is not an octal mode such as "0644"`},
		{"mode without quotes", head + "files: [{path: /a, content: a, mode: 0644}]\n",
			`r.yaml:5:38: files[0].mode: expected text, found the number 0644; write "0644"`},
		{"content and source", head + "files: [{path: /a, content: a, source: r.yaml}]\n", "r.yaml:5:9: files[0]: content and source exclude each other"},
		{"neither content nor source", head + "files: [{path: /a}]\n", "r.yaml:5:9: files[0]: needs content or source"},
		{"two units", head + "units: [{name: a.service, content: x}, {name: a.service, content: y}]\n",
			`r.yaml:5:47: units[1].name: two units of one name: "a.service" stands in r.yaml:5:16 already`},
		{"unit of ours", head + "units: [{name: agid.service, content: x}]\n",
			"r.yaml:5:16: units[0].name: two units of one name: agibake writes agid.service itself"},
		{"unit name", head + "units: [{name: ../a.service, content: x}]\n", `r.yaml:5:16: units[0].name: "../a.service" is not a unit name such as extra.service`},
		{"share type", head + "shares: [{type: cifs, source: //h/s, target: /mnt}]\n",
			`r.yaml:5:17: shares[0].type: "cifs" is not one of nfs, smb, virtiofs, 9p, vboxsf, vmhgfs`},
		{"share source", head + "shares: [{type: nfs, source: //h/s, target: /mnt}]\n",
			`r.yaml:5:30: shares[0].source: "//h/s" is not HOST:/EXPORT, as nfs wants it`},
		{"share over the state", head + "shares: [{type: 9p, source: a, target: /var/lib/agi-core}]\n",
			`r.yaml:5:40: shares[0].target: "/var/lib/agi-core" cannot hold anything of the recipe: /var/lib/agi-core lies on the state partition`},
		{"shares on one place", head + "shares: [{type: 9p, source: a, target: /m}, {type: 9p, source: b, target: /m}]\n",
			`r.yaml:5:75: shares[1].target: two shares of one target: "/m" stands in r.yaml:5:40 already`},
		{"user", head + "access: {users: [{name: 1x}]}\n", `r.yaml:5:25: access.users[0].name: "1x" is not a login name of a-z, 0-9, _ and -, at most 32 long`},
		{"key that is none", head + "access: {users: [{name: a, authorizedKeys: [ssh-ed25519 AAAAC3NzaC1]}]}\n",
			`r.yaml:5:45: access.users[0].authorizedKeys[0]: "ssh-ed25519 AAAAC3NzaC1" is not an SSH public key such as "ssh-ed25519 AAAA… comment"`},
		{"private key", head + "access: {users: [{name: a, authorizedKeys: [\"-----BEGIN OPENSSH PRIVATE KEY-----\\nx\"]}]}\n",
			`r.yaml:5:45: access.users[0].authorizedKeys[0]: a private key must never stand in a recipe; take the .pub file beside it`},
		{"listen", head + "agent: {listen: '8443'}\n", `r.yaml:5:17: agent.listen: "8443" is not an address such as ":8443"`},
		{"listen nowhere", head + "agent: {listen: ''}\n", "r.yaml:5:17: agent.listen: must not be empty"},
		{"temperature", head + "agent: {modes: {A: {systemPrompt: x, temperature: 3}}}\n",
			"r.yaml:5:51: agent.modes.A.temperature: 3 is not between 0 and 2"},
		{"logs to nowhere", head + "agent: {logs: {ship: [{lokki: 'http://h'}]}}\n",
			`r.yaml:5:24: agent.logs.ship[0].lokki: "lokki" is not a service that traces can go to: loki`},
		{"timeout", head + "selftest: {timeout: 5}\n", `r.yaml:5:21: selftest.timeout: expected text, found the number 5; write "5"`},
		{"timeout of nothing", head + "selftest: {timeout: 0s}\n", "r.yaml:5:21: selftest.timeout: 0s is not between 1s and 24h"},
		{"check that is none", head + "selftest: {require: [modell]}\n",
			`r.yaml:5:22: selftest.require[0]: "modell" is not one of state, clock, docker, container, model, speed, gpu, web, identity, space, units; did you mean "model"?`},
		{"check without its container", head + "selftest: {require: [model]}\n",
			"r.yaml:5:22: selftest.require[0]: model needs a container, and the recipe has none"},
		{"missing file", head + "files: [{path: /a, source: nope}]\nsign: {key: nokey}\n",
			"r.yaml:5:28: files[0].source: cannot read nope: no such file or directory\n" +
				"r.yaml:6:13: sign.key: cannot read nokey: no such file or directory; agibake keygen makes a pair of keys"},
		{"unset variable", head + "access: {hostname: '${NOPE}'}\n",
			"r.yaml:5:20: variable NOPE is not set; set it with --set NOPE=VALUE or in the environment, or write $${NOPE} for the text itself"},
		{"misspelt variable", head + "access: {hostname: '${HOTS}'}\n", "r.yaml:5:20: variable HOTS is not set; did you mean HOST?"},
		{"shell variable", head + "files: [{path: /a, content: '${A:-b}'}]\n",
			"r.yaml:5:29: \"${A:-b}\" is not a variable such as ${NAME}; write \"$$\" for a dollar sign"},
		{"all at once", head + "machine: {cpus: x}\nbsae: {}\noutputs: [oav]\n",
			"r.yaml:5:17: machine.cpus: expected a whole number, found the text \"x\"\n" +
				"r.yaml:6:1: unknown key \"bsae\"; did you mean \"base\"?\n" +
				"r.yaml:7:11: outputs[0]: \"oav\" is not one of raw, qcow2, vmdk, ova; did you mean \"ova\"?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, map[string]string{"r.yaml": test.text})
			r, err := Parse("r.yaml", Options{Set: map[string]string{"HOST": "h"}})
			if err == nil {
				t.Fatal("no fault found")
			}
			dir, _ := os.Getwd()
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), dir+"/", "")); diff != "" {
				t.Error(diff)
			}
			if r != nil || fault.KindOf(err) != fault.Input || !errors.As(err, new(Faults)) {
				t.Errorf("recipe %v, kind %v", r, fault.KindOf(err))
			}
		})
	}
}

func TestUnreadableRecipe(t *testing.T) {
	write(t, map[string]string{"big.yaml": head + "# " + strings.Repeat("x", maxFile)})
	for path, want := range map[string]string{
		"none.yaml": "read recipe: none.yaml: no such file or directory",
		".":         "read recipe: . is not a file",
		"big.yaml":  "read recipe: big.yaml is larger than 1 MiB",
	} {
		_, err := Parse(path, Options{})
		if err == nil || err.Error() != want || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	write(t, map[string]string{"r.yaml": head})
	yes := true
	want := &Recipe{
		APIVersion: APIVersion, Kind: Kind, Name: "demo", Version: "1.0.0",
		Base: Base{Distribution: "ubuntu", Release: "jammy", Components: []string{"main", "restricted", "universe"},
			CheckValidUntil: &yes, Kernel: "linux-image-virtual"},
		Machine: Machine{CPUs: 2, Memory: 4 << 30, Disk: 16 << 30, SystemSize: 6 << 30,
			Firmware: []string{"bios", "uefi"}, SecureBoot: true},
		Access:   Access{Hostname: "demo"},
		Agent:    Agent{Listen: ":8443"},
		SelfTest: SelfTest{Timeout: "5m", Require: []string{"state", "identity", "web"}},
		Outputs:  []string{"qcow2"},
	}
	if diff := cmp.Diff(want, parse(t, Options{}), ignorePlaces); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsThatFollow(t *testing.T) {
	write(t, map[string]string{"r.yaml": head + `
base: {distribution: debian}
machine: {firmware: [bios]}
containers:
  - name: a
    image: {packages: {distribution: ubuntu, release: jammy, include: [bash], entrypoint: [/bin/bash]}}
models: [{name: m, file: m, source: 'https://h/m'}]
selftest: {minTokensPerSecond: 1}
`})
	r := parse(t, Options{})
	got := []any{r.Base.Release, r.Base.Kernel, r.Base.Components, r.Machine.SecureBoot,
		r.Containers[0].Image.Packages.Components, r.Containers[0].Restart, r.SelfTest.Require}
	want := []any{"bookworm", "linux-image-cloud-amd64", []string{"main"}, false, []string{"main", "universe"}, "always",
		[]string{"state", "identity", "web", "docker", "container", "model", "speed"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestVariables(t *testing.T) {
	write(t, map[string]string{"r.yaml": head + `
machine: {cpus: "${CPUS}"}
access: {hostname: "${PRE}-${N}"}
base: {packages: ["${N}a"], snapshot: "${SNAP}"}
files: [{path: /a, content: "$HOME $${N} $$5 ${N}"}]
`})
	env := map[string]string{"CPUS": "9", "PRE": "h", "N": "1", "SNAP": "20261101T000000Z"}
	_, err := Parse("r.yaml", Options{Set: map[string]string{"PRE": "set"}, Getenv: lookup(env)})
	if want := `r.yaml:6:17: machine.cpus: expected a whole number, found the text "9"`; err == nil || err.Error() != want {
		t.Fatalf("a quoted number: %v", err)
	}
	text, _ := os.ReadFile("r.yaml")
	os.WriteFile("r.yaml", []byte(strings.Replace(string(text), `{cpus: "${CPUS}"}`, "\n  cpus: ${CPUS}", 1)), 0o644)
	r := parse(t, Options{Set: map[string]string{"PRE": "set"}, Getenv: lookup(env)})
	got := []any{r.Machine.CPUs, r.Access.Hostname, r.Base.Packages, r.Base.Snapshot, r.Files[0].Content}
	want := []any{9, "set-1", []string{"1a"}, "20261101T000000Z", "$HOME ${N} $5 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func lookup(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestErrorCarriesFaults(t *testing.T) {
	write(t, map[string]string{"r.yaml": head + "bsae: 1\n"})
	_, err := Parse("r.yaml", Options{})
	var f Faults
	want := Faults{{"r.yaml", 5, 1, `unknown key "bsae"`, `did you mean "base"?`}}
	if !errors.As(err, &f) || cmp.Diff(want, f) != "" {
		t.Errorf("%#v", f)
	}
}

func TestRichRecipe(t *testing.T) {
	write(t, map[string]string{"r.yaml": rich})
	r := parse(t, Options{})
	if got := r.Containers[1].Image.Packages.Env["B"] + r.Files[1].Content; got != "$x\n  a\tb\r\n$ ${A}" {
		t.Errorf("%q", got)
	}
}
