package recipe

import "slices"

// complete fills in the values that follow from others.
func (d *decoder) complete(r *Recipe) {
	debian := r.Base.Distribution == "debian"
	fill(&r.Base.Release, choose(debian, "bookworm", "jammy"))
	fill(&r.Base.Kernel, choose(debian, "linux-image-cloud-amd64", "linux-image-virtual"))
	if r.Base.Components == nil {
		r.Base.Components = choose(debian, []string{"main"}, []string{"main", "restricted", "universe"})
	}
	if !d.written("machine.secureBoot") {
		r.Machine.SecureBoot = slices.Contains(r.Machine.Firmware, "uefi")
	}
	fill(&r.Access.Hostname, r.Name)
	for i := range r.Containers {
		if p := r.Containers[i].Image.Packages; p != nil && p.Components == nil {
			p.Components = choose(p.Distribution == "debian", []string{"main"}, []string{"main", "universe"})
		}
	}
	if !d.written("selftest.require") {
		r.SelfTest.Require = required(r)
	}
}

// required lists the checks that an appliance of this kind cannot do without.
func required(r *Recipe) []string {
	list := []string{"state", "identity", "web"}
	if len(r.Containers) > 0 {
		list = append(list, "docker", "container")
		if len(r.Models) > 0 {
			list = append(list, "model")
		}
		if r.SelfTest.MinTokensPerSecond > 0 {
			list = append(list, "speed")
		}
	}
	if r.GPU != nil {
		list = append(list, "gpu")
	}
	return list
}

func (d *decoder) written(path string) bool {
	_, ok := d.places[path]
	return ok
}

func fill(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func choose[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}
