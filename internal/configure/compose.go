package configure

import (
	"cmp"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/wire"
)

const composeHead = `# The appliance's containers. Edit, then: sudo systemctl reload agi-model
# The images are in docker's own store already; none is pulled.
`

// composeProgram is what agi-model.service starts.
const composeProgram = "usr/libexec/docker/cli-plugins/docker-compose"

type composeFile struct {
	Name     string    `yaml:"name"`
	Services yaml.Node `yaml:"services"`
}

type service struct {
	Image         string            `yaml:"image"`
	ContainerName string            `yaml:"container_name"`
	PullPolicy    string            `yaml:"pull_policy"`
	Restart       string            `yaml:"restart"`
	Command       []string          `yaml:"command,omitempty"`
	Environment   map[string]string `yaml:"environment,omitempty"`
	Ports         []string          `yaml:"ports,omitempty"`
	Volumes       []string          `yaml:"volumes,omitempty"`
	Deploy        *deploy           `yaml:"deploy,omitempty"`
}

type deploy struct {
	Resources struct {
		Reservations struct {
			Devices []device `yaml:"devices"`
		} `yaml:"reservations"`
	} `yaml:"resources"`
}

type device struct {
	Driver       string   `yaml:"driver"`
	IDs          []string `yaml:"device_ids"`
	Capabilities []string `yaml:"capabilities"`
}

// compose renders docker/compose.yaml of the state tree (Compose Specification), nil for a recipe without containers.
func compose(o Options) ([]byte, error) {
	f := composeFile{Name: "agi", Services: yaml.Node{Kind: yaml.MappingNode}}
	for _, c := range o.Lock.Recipe.Containers {
		s, err := newService(o, c)
		if err != nil {
			return nil, input(fmt.Errorf("container %s: %w", c.Name, err))
		}
		var key, value yaml.Node
		key.SetString(c.Name)
		if err := value.Encode(s); err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
		f.Services.Content = append(f.Services.Content, &key, &value)
	}
	if len(f.Services.Content) == 0 {
		return nil, nil
	}
	data, err := yaml.Marshal(f)
	return append([]byte(composeHead), data...), err
}

func newService(o Options, c recipe.Container) (service, error) {
	s := service{
		Image: o.reference(c.Name), ContainerName: c.Name, PullPolicy: "never", Restart: cmp.Or(c.Restart, "always"), Ports: c.Ports,
	}
	if s.Image == "" {
		return s, fmt.Errorf("no image of that name was placed")
	}
	for _, a := range c.Args {
		s.Command = append(s.Command, literal(a))
	}
	for k, v := range c.Env {
		if s.Environment == nil {
			s.Environment = map[string]string{}
		}
		s.Environment[k] = literal(v)
	}
	for _, m := range c.Mounts {
		if _, err := recipe.ParseMount(m); err != nil {
			return s, err
		}
		s.Volumes = append(s.Volumes, literal(wire.StateRoot+"/"+m))
	}
	if c.GPU {
		s.Deploy = &deploy{}
		s.Deploy.Resources.Reservations.Devices = []device{{"cdi", []string{"nvidia.com/gpu=all"}, []string{"gpu"}}}
	}
	return s, nil
}

// literal keeps compose from replacing variables in a value.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }
