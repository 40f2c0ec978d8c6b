package lock

// Total counts the pinned inputs, each digest once, and their bytes.
func Total(l *Lock) (number int, bytes int64) {
	seen := map[string]bool{}
	add := func(digest string, size int64) {
		if !seen[digest] {
			seen[digest] = true
			number++
			bytes += size
		}
	}
	packages := func(p *Packages) {
		for _, d := range p.Packages {
			add("sha256:"+d.SHA256, d.Size)
		}
	}
	packages(&l.System)
	for _, c := range l.Containers {
		if c.Packages != nil {
			packages(c.Packages)
			continue
		}
		for _, b := range append([]Blob{*c.Manifest, *c.Config}, c.Layers...) {
			add(b.Digest, b.Size)
		}
	}
	for _, f := range append(append([]File{}, l.Models...), l.Files...) {
		add("sha256:"+f.SHA256, f.Size)
	}
	return number, bytes
}
