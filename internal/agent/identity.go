package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agibake/agibake/internal/atomicfile"
)

// identityFile is boot/identity.json of the state: which machine this was at its last boot.
type identityFile struct {
	MachineID   string `json:"machineID"`
	ProductUUID string `json:"productUUID"` // of the DMI table, lower case; "" where the machine has none
}

const identityName = "boot/identity.json"

// keyTypes are the host keys that sshd is configured for. RSA would cost seconds at the first boot and buys nothing.
var keyTypes = []string{"ed25519", "ecdsa"}

// Identity makes sure that this machine has an identity and that nobody else has it. In a clone, recognised by a new DMI
// UUID under the same machine-id, machine-id, host keys and random seed are made anew. State that came from another
// machine is recognised by its foreign machine-id; then only the record is written.
func (s *System) Identity(ctx context.Context) error {
	old, known := s.loadIdentity()
	now := identityFile{MachineID: s.word("/etc/machine-id"), ProductUUID: s.productUUID()}
	if known && old.MachineID == now.MachineID && old.ProductUUID != "" && now.ProductUUID != "" && old.ProductUUID != now.ProductUUID {
		s.Warn("this machine is a copy of %s: it gets an identity of its own", old.ProductUUID)
		id, err := s.renew()
		if err != nil {
			return fmt.Errorf("renew identity: %w", err)
		}
		now.MachineID = id
	}
	if err := s.hostKeys(ctx); err != nil {
		return err
	}
	if known && old == now {
		return nil
	}
	if _, err := s.mounted("/var/lib/agi-core"); err != nil {
		return nil // nowhere to remember it; that the state is missing is told elsewhere
	}
	return s.saveIdentity(now)
}

func (s *System) loadIdentity() (identityFile, bool) {
	var i identityFile
	data, err := os.ReadFile(s.state(identityName))
	if err != nil || json.Unmarshal(data, &i) != nil {
		return identityFile{}, false
	}
	return i, i.MachineID != ""
}

func (s *System) saveIdentity(i identityFile) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.state("boot"), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(s.state(identityName), append(data, '\n'), 0o644)
}

// productUUID returns the DMI UUID, "" for the values that mean "none".
func (s *System) productUUID() string {
	u := strings.ToLower(s.word("/sys/class/dmi/id/product_uuid"))
	if strings.Trim(u, "0-") == "" || strings.Trim(u, "f-") == "" || len(u) != 36 {
		return ""
	}
	return u
}

// renew replaces what a copied disk shares with its original, and returns the new machine-id.
func (s *System) renew() (string, error) {
	var faults []error
	keys, err := filepath.Glob(s.path("/etc/ssh/ssh_host_*"))
	faults = append(faults, err)
	for _, k := range append(keys, s.path("/var/lib/docker/engine-id")) {
		if err := os.Remove(k); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	seed := make([]byte, 512)
	rand.Read(seed)
	faults = append(faults, writeSynced(s.path("/var/lib/systemd/random-seed"), seed, 0o600))
	id := make([]byte, 16)
	rand.Read(id)
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a version 4 UUID, as systemd makes (machine-id(5))
	text := hex.EncodeToString(id)
	files := []string{s.path("/etc/machine-id")}
	if info, err := os.Lstat(s.path("/var/lib/dbus/machine-id")); err == nil && info.Mode().IsRegular() {
		files = append(files, s.path("/var/lib/dbus/machine-id"))
	}
	for _, f := range files {
		faults = append(faults, writeSynced(f, []byte(text+"\n"), 0o444))
	}
	return text, errors.Join(faults...)
}

// writeSynced replaces a file's content in place: /etc/machine-id may be a mount point, over which no file can be renamed.
func writeSynced(name string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// hostKeys makes the missing ssh host keys. The private key gets its name last: half a pair is no pair.
func (s *System) hostKeys(ctx context.Context) error {
	if !s.exists("/etc/ssh/sshd_config") {
		return nil
	}
	var faults []error
	for _, kind := range keyTypes {
		name := s.path("/etc/ssh/ssh_host_" + kind + "_key")
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			continue
		}
		dir, err := os.MkdirTemp(s.path("/etc/ssh"), ".agid-")
		if err != nil {
			return err
		}
		tmp := filepath.Join(dir, "key")
		err = s.run(ctx, "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", s.word("/etc/hostname"), "-f", tmp)
		if err == nil {
			err = errors.Join(os.Rename(tmp+".pub", name+".pub"), os.Rename(tmp, name))
		}
		faults = append(faults, err, os.RemoveAll(dir))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("make ssh host keys: %w", err)
	}
	return atomicfile.SyncDir(s.path("/etc/ssh"))
}
