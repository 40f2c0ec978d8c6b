package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
)

// TestE2EOverSSH keeps a part on a host that a real sshd guards.
func TestE2EOverSSH(t *testing.T) {
	referee.E2E(t)
	place, dir := sshd(t)
	l, root := captured(t)
	places := append(folders(t, 2), place)
	_, parts, err := Split(t.Context(), l, root, places, options(nil))
	fatal(t, err)
	far, err := filepath.Glob(filepath.Join(dir, "far away", "*"+Suffix))
	if err != nil || len(far) != 1 {
		t.Fatal(far, err)
	}
	if info, err := os.Stat(far[0]); err != nil || info.Size() != parts[2].Size || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	j, err := found(t, places[1:]).Join(t.Context(), layout(t), nil, nil)
	if err != nil || j.Digest != root.Digest {
		t.Error(j, err)
	}
	fatal(t, os.Truncate(far[0], 3<<20))
	done, left, err := found(t, places).Repair(t.Context(), nil)
	if err != nil || len(done) != 1 || len(left) != 0 {
		t.Error(done, left, err)
	}
	found(t, places[1:])
	f, err := place.Create(t.Context()) // given up: nothing stays
	fatal(t, err)
	_, err = f.Write(make([]byte, 1<<20))
	fatal(t, err)
	f.Abort()
	if all, err := os.ReadDir(filepath.Join(dir, "far away")); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f, err = place.Create(ctx)
	fatal(t, err)
	cancel()
	for err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	f.Abort()
}

// sshd starts one for this user, with an ssh in PATH that knows it, and returns a folder there with a space in its name.
func sshd(t *testing.T) (Place, string) {
	dir := t.TempDir()
	server := referee.Path(t, "sshd")
	client := referee.Path(t, "ssh")
	me, err := user.Current()
	fatal(t, err)
	if me.Uid == "0" {
		fatal(t, os.MkdirAll("/run/sshd", 0o755))
	}
	for _, key := range []string{"host", "mine"} {
		referee.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	fatal(t, l.Close())
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		fatal(t, os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), mode))
		return path
	}
	config := write("sshd_config", fmt.Sprintf("ListenAddress 127.0.0.1\nPort %d\nHostKey DIR/host\nAuthorizedKeysFile DIR/mine.pub\nStrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin yes\n", port), 0o600)
	settings := write("ssh_config", "IdentityFile DIR/mine\nUserKnownHostsFile /dev/null\nStrictHostKeyChecking no\nLogLevel ERROR\nBatchMode yes\n", 0o600)
	fatal(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	write("bin/ssh", "#!/bin/sh\nexec "+client+" -F "+settings+" \"$@\"\n", 0o755)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	c := exec.Command(server, "-D", "-e", "-f", config)
	log := &strings.Builder{}
	c.Stderr = log
	fatal(t, c.Start())
	t.Cleanup(func() {
		err := errors.Join(c.Process.Kill(), c.Wait())
		if t.Failed() {
			t.Log(err, log.String())
		}
	})
	place, err := SSH(fmt.Sprintf("ssh://%s@127.0.0.1:%d%s/far%%20away", me.Username, port, dir))
	fatal(t, err)
	for range 100 {
		if _, err = place.Find(t.Context()); err == nil {
			return place, dir
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal(err)
	return nil, ""
}
