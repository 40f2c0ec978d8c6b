package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// root is the folder that becomes the system. Every name is resolved inside it as in a chroot (openat2(2) with
// RESOLVE_IN_ROOT), so that no link, shipped or made by a script, leads to the host.
type root struct {
	dir string
	fd  int
}

// newRoot makes an empty root below work: on a tmpfs where memory is plentiful, else on work's own file system.
// What an earlier build that was killed left there is removed: only here, in the namespace, may an ordinary user do so.
func newRoot(work string, size int64) (*root, error) {
	dir := filepath.Join(work, "tree")
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("remove an earlier tree: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the tree's folder: %w", err)
	}
	if memAvailable() > 3*size+(512<<20) {
		opts := fmt.Sprintf("mode=755,nr_inodes=0,size=%d", 2*size+(1<<30))
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, opts); err != nil {
			return nil, fmt.Errorf("mount tmpfs: %w", err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	r := &root{dir: dir, fd: fd}
	self, err := r.open(".", unix.O_PATH)
	if err != nil {
		err = fault.Mark(fault.Missing, fmt.Errorf("openat2: %w", err))
		return nil, fault.Hint(err, "Linux 5.6 or newer is needed, and a container's seccomp profile must allow openat2")
	}
	return r, unix.Close(self)
}

// Close removes the root. On a tmpfs that costs nothing: it ends with the namespace.
func (r *root) Close() error {
	unix.Close(r.fd)
	if err := unix.Unmount(r.dir, unix.MNT_DETACH); err == nil {
		return os.Remove(r.dir)
	}
	return os.RemoveAll(r.dir)
}

// memAvailable is the memory that may be used without swapping, in bytes (proc(5)); 0 when unknown.
func memAvailable() int64 {
	data, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// open opens a path of the root. The caller closes the descriptor.
func (r *root) open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{
			Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// parent opens the folder of name, made if missing, and returns it with name's last element.
func (r *root) parent(name string) (int, string, error) {
	dir, base := path.Split(name)
	if dir = path.Clean("./" + dir); base == "" {
		return -1, "", fmt.Errorf("%q is no file name", name)
	}
	fd, err := r.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		if err := r.mkdirAll(dir); err != nil {
			return -1, "", err
		}
		fd, err = r.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	}
	if err != nil {
		return -1, "", fmt.Errorf("open folder %s: %w", dir, err)
	}
	return fd, base, nil
}

// mkdirAll makes dir and its parents, mode 0755.
func (r *root) mkdirAll(dir string) error {
	if dir == "." {
		return nil
	}
	fd, base, err := r.parent(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(fd, base, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make folder %s: %w", dir, err)
	}
	return nil
}

// writeFile replaces name by a file with the given content, mode and time.
func (r *root) writeFile(name string, data []byte, mode uint32, mtime int64) error {
	dir, base, err := r.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Unlinkat(dir, base, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return seal(fd, name, 0, 0, mode, mtime)
}

// seal gives a written file its owner, mode and time, in the order that keeps setuid bits.
func seal(fd int, name string, uid, gid int, mode uint32, mtime int64) error {
	if uid != 0 || gid != 0 {
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return fmt.Errorf("set owner of %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return fmt.Errorf("set mode of %s: %w", name, err)
	}
	if err := unix.Futimes(fd, []unix.Timeval{{Sec: mtime}, {Sec: mtime}}); err != nil {
		return fmt.Errorf("set time of %s: %w", name, err)
	}
	return nil
}

// readFile reads a small file, following links inside the root.
func (r *root) readFile(name string) ([]byte, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<20))
}

// stat looks at name without following it when it is a link itself.
func (r *root) stat(name string) (unix.Stat_t, error) {
	var s unix.Stat_t
	fd, err := r.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return s, err
	}
	defer unix.Close(fd)
	return s, unix.Fstat(fd, &s)
}

func (r *root) exists(name string) bool {
	_, err := r.stat(name)
	return err == nil
}

// diskFull says which disk ENOSPC means. Of a refused namespace it means something else, which is explained already.
func diskFull(err error, work string) error {
	if fault.KindOf(err) == fault.Missing {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(strings.ToLower(err.Error()), syscall.ENOSPC.Error()) {
		return fault.Hint(err, "the disk of "+work+" or the memory for the tree is full: make room, or set XDG_CACHE_HOME to a folder on a larger disk")
	}
	return err
}

// chmod sets owner and mode of a folder.
func (r *root) chmod(name string, uid, gid int, mode uint32) error {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(fd)
		err = errors.Join(unix.Fchown(fd, uid, gid), unix.Fchmod(fd, mode))
	}
	if err != nil {
		return fmt.Errorf("set owner and mode of %s: %w", name, err)
	}
	return nil
}

// removeAll removes name and what is below it. A name that is not there is no error.
func (r *root) removeAll(name string) error {
	dir, base, err := r.existingParent(name)
	if dir < 0 {
		return err
	}
	defer unix.Close(dir)
	if err := os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func (r *root) existingParent(name string) (int, string, error) {
	fd, err := r.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return -1, "", nil
	}
	if err != nil {
		return -1, "", fmt.Errorf("open folder of %s: %w", name, err)
	}
	return fd, path.Base(name), nil
}

// readDir lists the names in a folder, sorted; a folder that is not there is empty.
func (r *root) readDir(name string) ([]string, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// rename gives a file of the root another name.
func (r *root) rename(from, to string) error {
	d1, b1, err := r.parent(from)
	if err != nil {
		return err
	}
	defer unix.Close(d1)
	d2, b2, err := r.parent(to)
	if err != nil {
		return err
	}
	defer unix.Close(d2)
	if err := unix.Renameat(d1, b1, d2, b2); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

// symlink replaces name by a link.
func (r *root) symlink(target, name string) error {
	if err := r.removeAll(name); err != nil {
		return err
	}
	dir, base, err := r.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Symlinkat(target, dir, base); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

func writeAndClose(fd int, text string) error {
	f := os.NewFile(uintptr(fd), "")
	_, err := f.WriteString(text)
	return errors.Join(err, f.Close())
}
