// Lister is what the test images hold: it says what it sees of its own root file system, and stays.
//
//	lister ROOT [stay]
//
// It prints "greeting" with the environment's $GREETING, then "begin", one JSON line for every file below ROOT, and
// "end". What an engine places into every container is left out.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

// entry is one line.
type entry struct {
	Path   string
	Mode   string // type and permissions as ls shows them
	Owner  string
	Size   int64             `json:",omitempty"` // of files
	Time   int64             `json:",omitempty"` // of files; folders change with what the engine places into them
	Sum    string            `json:",omitempty"` // SHA-256 of a file
	Same   string            `json:",omitempty"` // the first name of the same file
	Link   string            `json:",omitempty"`
	Device string            `json:",omitempty"`
	Xattrs map[string]string `json:",omitempty"`
}

// placed are the names of the engine's own.
var placed = []string{"proc", "sys", "dev", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}

func main() {
	if err := list(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 2 {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
	}
}

func list(root string) error {
	var out bytes.Buffer
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if slices.Contains(placed, rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		e, err := look(name, first)
		if err != nil {
			return err
		}
		e.Path = rel
		if e.Same != "" {
			e.Same, err = filepath.Rel(root, e.Same)
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(&out).Encode(e)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Printf("greeting %s\nbegin\n%send\n", os.Getenv("GREETING"), out.Bytes())
	return err
}

// look describes the file name; first holds the names seen so far by inode.
func look(name string, first map[uint64]string) (entry, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return entry{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	e := entry{Mode: info.Mode().String(), Owner: fmt.Sprintf("%d:%d", st.Uid, st.Gid)}
	if !info.IsDir() && st.Nlink > 1 {
		if e.Same = first[st.Ino]; e.Same == "" {
			first[st.Ino] = name
		}
	}
	switch kind := info.Mode().Type(); {
	case kind&fs.ModeSymlink != 0:
		e.Link, err = os.Readlink(name)
		return e, err
	case kind&fs.ModeDevice != 0:
		e.Device = fmt.Sprint(st.Rdev)
	case kind == 0:
		e.Size, e.Time = info.Size(), info.ModTime().Unix()
		if e.Sum, err = sum(name); err != nil {
			return e, err
		}
	}
	e.Xattrs, err = xattrs(name)
	return e, err
}

func sum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

func xattrs(name string) (map[string]string, error) {
	buf := make([]byte, 64<<10)
	n, err := syscall.Listxattr(name, buf)
	if err != nil || n == 0 {
		return nil, err
	}
	all := map[string]string{}
	for _, key := range bytes.Split(bytes.TrimSuffix(buf[:n], []byte{0}), []byte{0}) {
		value := make([]byte, 64<<10)
		n, err := syscall.Getxattr(name, string(key), value)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, key, err)
		}
		all[string(key)] = hex.EncodeToString(value[:n])
	}
	return all, nil
}
