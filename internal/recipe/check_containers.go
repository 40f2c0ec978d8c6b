package recipe

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

var (
	portPattern  = re(`^(?:([0-9.]+|\[[0-9a-fA-F:.]+\]):)?([0-9]{1,5}):([0-9]{1,5})(?:/(tcp|udp))?$`)
	mountPattern = re(`^((?:models|docker|boot|logs|memory)(?:/[^:]*)?):(/[^:]*)(?::(ro|rw))?$`)
)

// Port is one published port of a container.
type Port struct {
	Address   string // of the host, "" for all
	Host      int
	Container int
	Protocol  string // tcp or udp
}

// ParsePort reads [ADDRESS:]HOST:CONTAINER[/PROTOCOL].
func ParsePort(s string) (Port, error) {
	m := portPattern.FindStringSubmatch(s)
	if m == nil {
		return Port{}, fmt.Errorf("%s is not %s", quote(s), keys["containers[].ports[]"].expects)
	}
	p := Port{Address: strings.Trim(m[1], "[]"), Protocol: m[4]}
	fill(&p.Protocol, "tcp")
	if p.Address != "" && net.ParseIP(p.Address) == nil {
		return Port{}, fmt.Errorf("%s is not an IP address", quote(p.Address))
	}
	p.Host, _ = strconv.Atoi(m[2])
	p.Container, _ = strconv.Atoi(m[3])
	for _, n := range []int{p.Host, p.Container} {
		if n < 1 || n > 65535 {
			return Port{}, fmt.Errorf("port %d is not between 1 and 65535", n)
		}
	}
	return p, nil
}

// Mount is a folder of the state tree inside a container.
type Mount struct {
	Source   string // relative to the state root: models, memory/notes
	Target   string // absolute path in the container
	ReadOnly bool
}

// ParseMount reads FOLDER[/SUB]:/PATH[:ro].
func ParseMount(s string) (Mount, error) {
	m := mountPattern.FindStringSubmatch(s)
	if m == nil {
		return Mount{}, fmt.Errorf("%s is not %s", quote(s), keys["containers[].mounts[]"].expects)
	}
	for _, p := range m[1:3] {
		if slices.Contains(strings.Split(p, "/"), "..") {
			return Mount{}, fmt.Errorf("%s escapes the tree: .. is not allowed", quote(p))
		}
		if path.Clean(p) != p || p == "/" {
			return Mount{}, fmt.Errorf("%s is not a plain path", quote(p))
		}
	}
	return Mount{m[1], m[2], m[3] == "ro"}, nil
}

func (d *decoder) checkContainers(r *Recipe) {
	var taken []publication
	if _, port, err := net.SplitHostPort(r.Agent.Listen); err == nil {
		n, _ := strconv.Atoi(port)
		taken = append(taken, publication{Port{Host: n, Protocol: "tcp"}, "agent.listen"})
	}
	taken = append(taken, publication{Port{Host: 22, Protocol: "tcp"}, "ssh"})
	for i := range r.Containers {
		c, at := &r.Containers[i], item("containers", i)
		d.checkImage(&c.Image, at+".image")
		taken = d.checkPorts(c, at, taken)
		d.checkMounts(c, at)
	}
	if len(r.Containers) > 0 && r.Base.Distribution == "ubuntu" && !slices.Contains(r.Base.Components, "universe") {
		d.wrong("base.components", "", "containers need universe, which holds docker")
	}
}

type publication struct {
	Port
	owner string
}

func (d *decoder) checkPorts(c *Container, at string, taken []publication) []publication {
	for i, s := range c.Ports {
		where := item(at+".ports", i)
		p, err := ParsePort(s)
		if err != nil {
			d.wrong(where, "", "%s", err)
			continue
		}
		for _, t := range taken {
			same := t.Address == "" || p.Address == "" || net.ParseIP(t.Address).Equal(net.ParseIP(p.Address))
			if same && t.Host == p.Host && t.Protocol == p.Protocol {
				d.wrong(where, "", "port %d of the host is taken by %s", p.Host, t.owner)
			}
		}
		taken = append(taken, publication{p, where})
	}
	return taken
}

func (d *decoder) checkMounts(c *Container, at string) {
	targets := map[string]bool{}
	for i, s := range c.Mounts {
		where := item(at+".mounts", i)
		m, err := ParseMount(s)
		if err != nil {
			d.wrong(where, "", "%s", err)
		} else if targets[m.Target] {
			d.wrong(where, "", "two mounts on %s", m.Target)
		}
		targets[m.Target] = true
	}
}

func (d *decoder) checkImage(image *Image, at string) {
	var set []string
	for name, have := range map[string]bool{"registry": image.Registry != "", "layout": image.Layout != "",
		"archive": image.Archive != "", "packages": image.Packages != nil} {
		if have {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	switch {
	case len(set) == 0 && d.written(at):
		d.wrong(at, "", "expected one of registry, layout, archive, packages; found none")
	case len(set) > 1:
		d.wrong(at, "", "expected one of registry, layout, archive, packages; found %s", strings.Join(set, " and "))
	}
	if image.Registry != "" {
		d.checkReference(image.Registry, at+".registry")
	}
	d.localLayout(at+".layout", &image.Layout)
	d.local(at+".archive", &image.Archive, "", aFile, "docker save -o FILE IMAGE writes one")
	if p := image.Packages; p != nil && len(p.Entrypoint) > 0 && !path.IsAbs(p.Entrypoint[0]) {
		d.wrong(at+".packages.entrypoint[0]", "", "%s is not %s", quote(p.Entrypoint[0]), absoluteWords)
	}
}

func (d *decoder) checkReference(s, at string) {
	if _, err := name.ParseReference(s); err != nil {
		d.wrong(at, "", "%s is not an image reference such as ghcr.io/org/server:1.0", quote(s))
		return
	}
	last := s[strings.LastIndexByte(s, '/')+1:]
	if !strings.ContainsAny(last, ":@") {
		d.wrong(at, "write "+quote(s+":latest")+" to follow it", "%s has neither tag nor digest", quote(s))
	}
}
