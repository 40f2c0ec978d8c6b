package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/referee"
)

// startRegistry starts docker-registry with empty storage below dir and returns its address.
func startRegistry(t *testing.T, program, dir string) (host string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	host = l.Addr().String()
	l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/storage}}\nhttp: {addr: %s, secret: s}\n", dir, host)
	fatal(t, os.WriteFile(dir+"/registry.yml", []byte(conf), 0o644))
	c := exec.CommandContext(t.Context(), program, "serve", dir+"/registry.yml")
	fatal(t, c.Start())
	for range 500 {
		if a, err := http.Get("http://" + host + "/v2/"); err == nil {
			a.Body.Close()
			return host, func() { _ = c.Process.Kill(); _ = c.Wait() }
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the registry does not answer")
	return "", nil
}

// signedRecipe is the least system that boots, signed as it is baked.
const signedRecipe = `apiVersion: agibake/v1
kind: Appliance
name: small
version: 1.0.0
machine: {disk: 3GiB, systemSize: 2GiB}
files: [{path: /etc/hello, content: "%s"}, {path: /etc/local, source: local.txt}]
outputs: [qcow2, ova]
sign: {key: cosign.key}
`

// TestE2ERegistry takes a real appliance the whole way: baked and signed, pushed with its inputs, judged by foreign tools,
// pulled, booted from the registry, and baked again by somebody whose cache is empty and who reaches no archive.
func TestE2ERegistry(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.env = append(h.env, "AGIBAKE_KEY_PASSWORD=secret", "COSIGN_PASSWORD=secret")
	referee.Need(t, "docker-registry", "cosign", "crane", "oras", "skopeo", "umoci", "docker", "dockerd")
	src := filepath.Join(h.dir, "src")
	fatal(t, os.Mkdir(src, 0o755))
	fatal(t, os.WriteFile(src+"/local.txt", []byte("a local file\n"), 0o644))
	fatal(t, os.WriteFile(src+"/small.yaml", fmt.Appendf(nil, signedRecipe, "one"), 0o644))
	h.run(0, "keygen", "-o", src+"/cosign")
	must(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=maker", "-days", "2", "-keyout", src+"/ova.key", "-out", src+"/ova.crt")
	bake := func(out string) { h.run(0, "bake", src+"/small.yaml", "-o", filepath.Join(h.dir, out)) }
	bake("out")
	dir, key := h.dir+"/out/small-1.0.0", src+"/cosign.pub"
	h.run(0, "verify", dir, "--key", key)
	host, stop := startRegistry(t, referee.Path(t, "docker-registry"), h.dir)
	t.Cleanup(stop)
	ref := host + "/agi/small:1.0.0"
	h.run(0, "push", dir, ref, "--inputs")
	if out, _ := h.run(0, "push", dir, ref, "--inputs", "--json"); strings.Count(out, `"Bytes": 0`) != 2 {
		t.Errorf("the second push sends something: %s", out)
	}
	t.Run("referees", func(t *testing.T) { registryReferees(t, h, ref, key) })
	t.Run("docker", func(t *testing.T) { dockerRuns(t, ref) })
	t.Run("pull", func(t *testing.T) {
		h.run(0, "pull", ref, "--key", key, "-o", h.dir+"/in", "--format", "qcow2")
		must(t, "cmp", dir+"/small-1.0.0.qcow2", h.dir+"/in/small-1.0.0/small-1.0.0.qcow2")
		h.run(0, "verify", h.dir+"/in/small-1.0.0", "--key", key)
		h.run(0, "inspect", h.dir+"/in/small-1.0.0")
	})
	for firmware, image := range map[string][]string{"secureboot": {ref, "--key", key}, "uefi": {dir + "/small-1.0.0.ova"}} {
		t.Run(firmware, func(t *testing.T) {
			v := h.boot(0, append(image, "--offline", "--firmware", firmware)...).Verdict
			if !v.Pass || v.Appliance != "small" || v.Firmware != firmware {
				t.Errorf("%+v", v)
			}
		})
	}
	t.Run("rebuild", func(t *testing.T) { rebuilt(t, h, ref, key) })
	t.Run("one changed file", func(t *testing.T) {
		fatal(t, os.WriteFile(src+"/small.yaml", fmt.Appendf(nil, signedRecipe, "two"), 0o644))
		bake("changed")
		old, now := rootfsLayers(t, dir), rootfsLayers(t, h.dir+"/changed/small-1.0.0")
		var sent, all int64
		for d, size := range now {
			if all += size; old[d] == 0 {
				sent += size
			}
		}
		t.Logf("%d of %d bytes are new, %.2f %%", sent, all, 100*float64(sent)/float64(all))
		if sent == 0 || sent*50 > all {
			t.Errorf("%d bytes of the rootfs image's %d are pushed again", sent, all)
		}
	})
	t.Run("certificate", func(t *testing.T) {
		h.run(2, "bake", src+"/small.yaml", "-o", h.dir+"/cert", "--ova-key", src+"/ova.key")
		h.run(3, "bake", src+"/small.yaml", "-o", h.dir+"/cert", "--ova-key", src+"/ova.key", "--ova-cert", key)
		h.run(0, "bake", src+"/small.yaml", "-o", h.dir+"/cert", "--format", "ova", "--ova-key", src+"/ova.key", "--ova-cert", src+"/ova.crt")
		if list := must(t, "tar", "-tf", h.dir+"/cert/small-1.0.0/small-1.0.0.ova"); !strings.Contains(list, "small-1.0.0.mf\nsmall-1.0.0.cert\n") {
			t.Errorf("the OVA holds %s", list)
		}
		if out, _ := h.run(0, "inspect", h.dir+"/cert/small-1.0.0/small-1.0.0.ova"); !strings.Contains(out, "every rule") {
			t.Errorf("inspect says %s", out)
		}
	})
}

func rootfsLayers(t *testing.T, dir string) map[string]int64 {
	_, a, err := artifact.OpenFolder(t.Context(), dir)
	fatal(t, err)
	list := map[string]int64{}
	for _, l := range a.RootfsLayers {
		list[l.Digest.String()] = l.Size
	}
	return list
}

// registryReferees lets foreign tools read what lies in the registry.
func registryReferees(t *testing.T, h *host, ref, key string) {
	dir := t.TempDir()
	fatal(t, os.WriteFile(dir+"/trusted.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), 0o644))
	cosign := func(args ...string) {
		c := referee.Command(t, "cosign", append(args, "--key", key, "--insecure-ignore-tlog=true", "--trusted-root", dir+"/trusted.json", ref)...)
		c.Env = append(c.Env, "HOME="+dir, "TUF_ROOT="+dir+"/tuf")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("cosign %q: %v\n%s", args, err, out)
		}
	}
	cosign("verify")
	cosign("verify-attestation", "--type", "spdxjson")
	cosign("verify-attestation", "--type", "slsaprovenance1")
	image := "docker://" + ref
	referee.Run(t, "skopeo", "inspect", "--tls-verify=false", "--override-os=linux", "--override-arch=amd64", image)
	referee.Run(t, "skopeo", "--insecure-policy", "--override-os=linux", "--override-arch=amd64", "copy", "--src-tls-verify=false", image, "oci:"+dir+"/rootfs:1")
	referee.Run(t, "umoci", "unpack", "--image", dir+"/rootfs:1", dir+"/bundle")
	if out := must(t, "chroot", dir+"/bundle/rootfs", "/bin/bash", "-c", "cat /etc/hello; dpkg --audit && dpkg -s cloud-init | grep Status"); !strings.Contains(out, "one") || !strings.Contains(out, "install ok installed") {
		t.Errorf("in the rootfs image: %s", out)
	}
	referee.Run(t, "crane", "validate", "--insecure", "--remote", ref)
	index := referee.Run(t, "crane", "manifest", "--insecure", ref)
	var x struct {
		Manifests []struct{ Digest, ArtifactType string }
	}
	fatal(t, json.Unmarshal([]byte(index), &x))
	for _, m := range x.Manifests {
		if m.ArtifactType == artifact.TypeDisk("qcow2") {
			referee.Run(t, "oras", "pull", "--plain-http", "-o", dir, ref[:strings.LastIndexByte(ref, ':')]+"@"+m.Digest)
		}
	}
	must(t, "cmp", dir+"/small-1.0.0.qcow2", h.dir+"/out/small-1.0.0/small-1.0.0.qcow2")
	if out := referee.Run(t, "oras", "discover", "--plain-http", ref); !strings.Contains(out, "application/spdx+json") {
		t.Errorf("oras finds %s", out)
	}
}

// dockerRuns lets an engine of its own pull the appliance by its name and run the rootfs image in it.
func dockerRuns(t *testing.T, ref string) {
	dir := t.TempDir()
	socket := "unix://" + dir + "/docker.sock"
	engine := referee.Command(t, "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none",
		"--data-root", dir+"/root", "--exec-root", dir+"/exec", "-p", dir+"/pid", "-H", socket)
	log, err := os.Create(dir + "/log")
	fatal(t, err)
	defer log.Close()
	engine.Stdout, engine.Stderr = log, log
	fatal(t, engine.Start())
	defer func() { engine.Process.Signal(syscall.SIGTERM); engine.Wait() }()
	docker := func(args ...string) (string, error) {
		out, err := referee.Command(t, "docker", append([]string{"-H", socket}, args...)...).CombinedOutput()
		return string(out), err
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if out, err := docker("info"); err == nil {
			break
		} else if time.Now().After(until) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("dockerd does not start: %s\n%s", out, said)
		}
	}
	out, err := docker("run", "--rm", "--network", "none", ref, "/bin/bash", "-c", "cat /etc/hello; . /etc/os-release; echo $VERSION_ID; dpkg --audit")
	if err != nil || !strings.Contains(out, "one") || !strings.HasSuffix(out, "22.04\n") {
		t.Errorf("docker run: %v\n%s", err, out)
	}
}

// rebuilt bakes the appliance again out of nothing but the registry.
func rebuilt(t *testing.T, h *host, ref, key string) {
	elsewhere := *h
	elsewhere.env = append(append([]string{}, h.env...), "XDG_CACHE_HOME="+h.dir+"/empty", "http_proxy=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1")
	out, _ := elsewhere.run(0, "verify", ref, "--key", key, "--rebuild")
	if !strings.Contains(out, "the same, byte for byte") {
		t.Errorf("verify --rebuild says %s", out)
	}
	h.run(0, "bake", "--inputs", ref, "--key", key, "-o", h.dir+"/again")
	must(t, "cmp", h.dir+"/out/small-1.0.0/small-1.0.0.ova", h.dir+"/again/small-1.0.0/small-1.0.0.ova")
	h.run(4, "verify", h.dir+"/again/small-1.0.0", "--key", key) // the maker's key did not sign this one
}
