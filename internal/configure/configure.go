// Package configure turns a recipe into the files that make an installed system an appliance: users, units, mounts, boot
// menu, agent. It runs no program; it reads the installed tree and returns new ones.
package configure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
)

// Options are the inputs of one configuration.
type Options struct {
	Lock        *lock.Lock
	LockDigest  string
	Base        *tree.Tree // the installed system
	Agid        string     // the static agent program on the host
	SystemUUID  string     // of the system file system, 8-4-4-4-12
	StateUUID   string     // of the state file system
	ESPVolumeID string     // of the EFI system partition, XXXX-XXXX
	Images      []ImageRef
	OpenInput   func(sha256 string) (fs.File, error) // opens the cached input of that digest
}

// ImageRef says which image a container runs, by the name docker knows it under.
type ImageRef struct{ Name, Reference string }

// Layer returns the configuration layer: what goes over the installed system. Its entries are those of a canonical
// layer without whiteouts; new files have the lock's epoch as their time. Errors that the recipe causes are of kind Input.
func Layer(ctx context.Context, o Options) (*tree.Tree, error) {
	b := newBuilder(o.Base, o.Lock.Epoch)
	for _, step := range []func(*builder, Options) error{
		untouched, users, system, cloudInit, fstab, shares, containers, agent, files, units, enablement, menu,
	} {
		if err := errors.Join(ctx.Err(), step(b, o)); err != nil {
			return nil, fmt.Errorf("configure: %w", err)
		}
	}
	return b.out, nil
}

// untouched refuses a base that already has what must differ between machines.
func untouched(b *builder, _ Options) error {
	for _, name := range []string{"etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_ecdsa_key", "var/lib/systemd/random-seed"} {
		if b.exists(name) {
			return fmt.Errorf("the base tree holds /%s, which every machine must make for itself", name)
		}
	}
	return b.file("/etc/machine-id", nil, 0o444)
}

// files places the recipe's files that belong to the system tree.
func files(b *builder, o Options) error {
	return eachFile(o, false, func(f recipe.File, e tree.Entry) error {
		var err error
		if e.UID, e.GID, err = b.owner(f.Owner); err != nil {
			return input(fmt.Errorf("file %s: %w", f.Path, err))
		}
		return b.put(f.Path, e)
	})
}

// contents is the open function of a file on the host, with its size.
func contents(path string) (tree.Entry, error) {
	info, err := os.Stat(path)
	if err != nil {
		return tree.Entry{}, err
	}
	if !info.Mode().IsRegular() {
		return tree.Entry{}, fmt.Errorf("%s: not a regular file", path)
	}
	return tree.Entry{Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}

// reference returns the image of a container.
func (o Options) reference(name string) string {
	for _, i := range o.Images {
		if i.Name == name {
			return i.Reference
		}
	}
	for _, c := range o.Lock.Containers {
		if c.Name == name {
			return c.Reference
		}
	}
	return ""
}

func (o Options) hostname() string {
	return cmp.Or(o.Lock.Recipe.Access.Hostname, o.Lock.Recipe.Name)
}

func input(err error) error { return fault.Mark(fault.Input, err) }
