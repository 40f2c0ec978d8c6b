package rootfs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/progress"
)

// buildEnv carries the JSON of Options to a test binary that is to build and do nothing else: as another user, on fewer
// cores.
const buildEnv = "ROOTFS_TEST_BUILD"

func TestMain(m *testing.M) {
	tasks := Tasks()
	tasks["referee"] = refereeTask
	tasks["as-user"] = asUserTask
	namespace.Main(tasks)
	if text := os.Getenv(buildEnv); text != "" {
		var o Options
		err := json.Unmarshal([]byte(text), &o)
		if err == nil {
			err = Build(context.Background(), o, nil)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// testRoot is a root in a temporary folder, without tmpfs and namespace.
func testRoot(t *testing.T) *root {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &root{dir: dir, fd: fd}
}

// unpackTest unpacks packages into a fresh root.
func unpackTest(t *testing.T, debs ...Deb) (*root, []*deb, error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root may unpack without a namespace")
	}
	list, err := openDebs(t.Context(), debs, 2)
	t.Cleanup(func() { closeDebs(list) })
	if err != nil {
		t.Fatal(err)
	}
	r := testRoot(t)
	_, err = unpack(t.Context(), r, list, Options{Epoch: 2000, Jobs: 2}, progress.Func(nil))
	return r, list, err
}

func read(t *testing.T, r *root, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
