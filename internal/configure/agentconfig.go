package configure

import (
	"encoding/json"
	"net"
	"strconv"

	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/wire"
)

// agentConfig renders wire.ConfigPath.
func agentConfig(o Options) ([]byte, error) {
	r := o.Lock.Recipe
	c := wire.Config{
		Name: r.Name, Version: r.Version, LockDigest: o.LockDigest, Epoch: o.Lock.Epoch, StateUUID: o.StateUUID, Listen: r.Agent.Listen,
		Containers: []string{}, Models: []string{}, GPU: r.GPU != nil, Greeting: r.Agent.Startup.Greeting,
		SelfTest: wire.SelfTestConfig{
			TimeoutSeconds: int(r.SelfTest.Duration().Seconds()), MinTokensPerSecond: r.SelfTest.MinTokensPerSecond,
			Require: append([]string{}, r.SelfTest.Require...),
		},
	}
	if r.GPU != nil {
		c.CUDA = r.GPU.CUDA
	}
	for _, x := range r.Containers {
		c.Containers = append(c.Containers, x.Name)
	}
	for _, m := range r.Models {
		c.Models = append(c.Models, m.File)
	}
	for name, m := range r.Agent.Modes {
		if c.Modes == nil {
			c.Modes = map[string]wire.Mode{}
		}
		c.Modes[name] = wire.Mode(m)
	}
	var err error
	if c.ModelURL, err = modelURL(r.Containers); err != nil {
		return nil, input(err)
	}
	data, err := json.MarshalIndent(c, "", "  ")
	return append(data, '\n'), err
}

// modelURL returns where the model answers: the container named "model", else the first with a published port.
func modelURL(list []recipe.Container) (string, error) {
	var ports []string
	for _, c := range list {
		if len(c.Ports) > 0 && (ports == nil || c.Name == "model") {
			ports = c.Ports
		}
	}
	if ports == nil {
		return "", nil
	}
	p, err := recipe.ParsePort(ports[0])
	if err != nil {
		return "", err
	}
	host := p.Address
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(p.Host)), nil
}
