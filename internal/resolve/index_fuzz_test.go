package resolve

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzStanzas reads any text as a package list. What it finds can be written as a list again, which reads the same;
// and a stanza that the lock would take leads nowhere but below the archive.
func FuzzStanzas(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1:2-3\nArchitecture: amd64\nPriority: required\nEssential: yes\nProvides: b (= 1), c\n" +
		"Filename: pool/a_2-3_amd64.deb\nSize: 12\nSHA256: " + strings.Repeat("0a", 32) + "\nDescription: x\n Package: no\n\nPackage: d\n"))
	f.Add([]byte("Package:a\n\n\nPackage\nPackage: \nFilename: ../../etc/shadow\nSize: -1\n"))
	f.Add([]byte("Package: a\r\nSize: 99999999999999999999\nSHA256: zz\nEssential: yes \x00\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		read := func(list []byte) (all []stanza) {
			_ = parseStanzas(bytes.NewReader(list), func(s *stanza) { all = append(all, *s) })
			return all
		}
		var again bytes.Buffer
		first := read(list)
		for _, s := range first {
			if s.name == "" {
				t.Fatal("a stanza without a name")
			}
			yes := map[bool]string{true: "yes", false: "no"}[s.essential]
			fmt.Fprintf(&again, "Package: %s\nVersion: %s\nArchitecture: %s\nFilename: %s\nSize: %s\nSHA256: %s\nPriority: %s\nProvides: %s\nEssential: %s\n\n",
				s.name, s.version, s.architecture, s.filename, s.size, s.sha256, s.priority, s.provides, yes)
			p, err := s.pin("http://archive.example/ubuntu/")
			if err == nil && (p.Size <= 0 || len(p.SHA256) != 64 || strings.Contains(p.URL, "/../") || !strings.HasPrefix(p.URL, "http://archive.example/ubuntu/")) {
				t.Errorf("%q gives %+v", list, p)
			}
		}
		if second := read(again.Bytes()); !slices.Equal(first, second) {
			t.Errorf("read again: %+v, first %+v", second, first)
		}
	})
}
