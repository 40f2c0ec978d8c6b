package state

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/registry"
)

// startRegistry starts Debian's docker-registry over a folder and returns its address.
func startRegistry(t testing.TB) string {
	t.Helper()
	referee.Need(t, "docker-registry")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	address := listener.Addr().String()
	fatal(t, listener.Close())
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n", dir, address)
	write(t, dir, map[string]string{"config.yml": config})
	cmd := referee.Command(t, "docker-registry", "serve", filepath.Join(dir, "config.yml"))
	fatal(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the registry does not answer")
	return ""
}

// TestE2EPushAndPullKilled: whenever a push or a pull is killed, what has a name is whole, and the next one ends well.
func TestE2EPushAndPullKilled(t *testing.T) {
	referee.E2E(t)
	host := startRegistry(t)
	dir, store := killable(t, 10<<20)
	undisturbed(t, "capture", dir, store, t.TempDir())
	want := resolved(t, store, "next").Digest
	uploads, cut := t.TempDir(), 0
	_, took := undisturbed(t, "push", store, host+"/first:next", uploads)
	for i, after := range moments(took, 20) {
		ref := fmt.Sprintf("%s/a/b%d:next", host, i)
		if !killedAt(t, after, "push", store, ref, uploads) {
			cut++
		}
		wholeThere(t, ref, want, false)
		undisturbed(t, "push", store, ref, uploads)
		wholeThere(t, ref, want, true)
	}
	t.Logf("push: %d of 20 were cut; one takes %v", cut, took)

	_, took = undisturbed(t, "pull", filepath.Join(t.TempDir(), "l"), host+"/first:next", uploads)
	for _, after := range moments(took, 20) {
		into := filepath.Join(t.TempDir(), "layout")
		if !killedAt(t, after, "pull", into, host+"/first:next", uploads) {
			cut++
		}
		if _, err := os.Stat(filepath.Join(into, "oci-layout")); err == nil {
			whole(t, into)
		}
		undisturbed(t, "pull", into, host+"/first:next", uploads)
		whole(t, into, "next")
		if got := resolved(t, into, "next").Digest; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	t.Logf("both: %d of 40 were cut; a pull takes %v", cut, took)
	if cut < 20 {
		t.Error("hardly any was cut")
	}
}

// wholeThere holds that a tag in a registry, once it is there, names a snapshot that can be read back.
func wholeThere(t testing.TB, ref string, want digest.Digest, must bool) {
	t.Helper()
	repo, err := registry.Open(t.Context(), ref, registry.Options{State: t.TempDir()})
	fatal(t, err)
	d, err := repo.Resolve(t.Context(), "next")
	if err != nil {
		if must {
			t.Fatal(err)
		}
		return
	}
	x, err := Read(t.Context(), repo, d, nil)
	fatal(t, err)
	if _, err := x.Verify(t.Context(), repo, nil); err != nil || d.Digest != want {
		t.Fatal(d.Digest, err)
	}
}

// TestE2ERegistry: capture to a registry, restore from it, and remove there are what they are on a disk.
func TestE2ERegistry(t *testing.T) {
	referee.E2E(t)
	repo, err := registry.Open(context.Background(), startRegistry(t)+"/agi/saiga:latest", registry.Options{State: t.TempDir()})
	fatal(t, err)
	dir := mind(t)
	there := capturedFrom(t, repo, dir, Options{Tags: []string{"first", Latest}})
	if here := capturedFrom(t, layout(t), dir, Options{}); here.Index.Digest != there.Index.Digest {
		t.Errorf("in a registry %s, on a disk %s", there.Index.Digest, here.Index.Digest)
	}
	first := snapshot(t, repo, there)
	write(t, dir, map[string]string{"boot/startup.txt": "Кто я?"})
	second := capturedFrom(t, repo, dir, Options{Parent: first, Tags: []string{"second", Latest}, Info: Info{Created: time.Unix(1e9+60, 0)}})
	if second.Added == 0 || second.Added > 1<<20 {
		t.Errorf("%+v", second)
	}
	list, err := List(t.Context(), repo)
	fatal(t, err)
	keep, drop := Keep{Last: 1}.Divide(list)
	_, err = Remove(t.Context(), repo, drop, keep)
	fatal(t, err)
	list, err = List(t.Context(), repo)
	fatal(t, err)
	if len(list) != 1 || list[0].Digest != second.Index.Digest {
		t.Errorf("%+v", list)
	}
	to := filepath.Join(t.TempDir(), "core")
	_, err = snapshot(t, repo, second).Restore(t.Context(), repo, to, RestoreOptions{})
	fatal(t, err)
	sameTree(t, dir, to)
}
