package resolve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// imageRegistry pins an image of a registry. Layers stay there until Fetch.
func (v *resolver) imageRegistry(ctx context.Context, c recipe.Container, old *lock.Container) (lock.Container, error) {
	if old != nil {
		return *old, nil
	}
	ref, err := name.ParseReference(c.Image.Registry)
	if err != nil {
		return lock.Container{}, fault.Mark(fault.Input, err)
	}
	if v.Offline {
		return lock.Container{}, fault.Hint(fmt.Errorf("image %s: %w", ref, ErrOffline), "run agibake lock once with the network")
	}
	v.p.Step("resolve", "image "+ref.String())
	d, get, err := v.remoteManifest(ctx, ref)
	if err != nil {
		return lock.Container{}, err
	}
	pinned, err := pinManifest(ctx, d, get)
	pinned.Name, pinned.Reference = c.Name, dockerName(ref)
	if _, ok := ref.(name.Digest); ok { // docker finds an image by the digest of its manifest, not of an index
		pinned.Reference = dockerName(ref.Context().Digest(d.Digest.String()))
	}
	pinned.Source = "registry:" + ref.Context().Name()
	return pinned, err
}

// remoteManifest finds the manifest for linux/amd64 behind a reference.
func (v *resolver) remoteManifest(ctx context.Context, ref name.Reference) (v1.Descriptor, documents, error) {
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(v.Client.Transport), remote.WithUserAgent("agibake"),
	}
	top, err := remote.Get(ref, opts...)
	if err != nil {
		return v1.Descriptor{}, nil, registryError(ref, err)
	}
	get := func(ctx context.Context, d v1.Descriptor) ([]byte, error) { return v.remoteDocument(ctx, ref, d, opts) }
	if !top.MediaType.IsIndex() {
		if err := v.keep(ctx, top.Manifest, top.Digest); err != nil {
			return v1.Descriptor{}, nil, err
		}
		return top.Descriptor, get, nil
	}
	d, err := choose(ctx, top.Manifest, "", get)
	return d, get, err
}

// remoteDocument fetches a manifest or config of a repository into the store. The client checks its digest.
func (v *resolver) remoteDocument(ctx context.Context, ref name.Reference, d v1.Descriptor, opts []remote.Option) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, inputf("document %s: larger than 4 MiB", d.Digest)
	}
	if d.Digest.Algorithm == "sha256" && v.Store.Has(d.Digest.Hex, d.Size) {
		return v.stored(ctx, d)
	}
	if d.MediaType.IsIndex() || d.MediaType.IsImage() {
		got, err := remote.Get(ref.Context().Digest(d.Digest.String()), opts...)
		if err != nil {
			return nil, registryError(ref, err)
		}
		if err := v.keep(ctx, got.Manifest, d.Digest); err != nil {
			return nil, err
		}
	} else if err := v.registryBlob(ctx, ref.Context().Name(), *blob(d), nil); err != nil {
		return nil, err
	}
	return v.stored(ctx, d)
}

func (v *resolver) keep(ctx context.Context, raw []byte, digest v1.Hash) error {
	_, _, err := v.Store.Put(ctx, bytes.NewReader(raw), digest.Hex, int64(len(raw)), nil)
	return err
}

// registryBlob fetches a blob of a repository, going on where an earlier run stopped
// (OCI distribution spec, "Pulling blobs").
func (v *resolver) registryBlob(ctx context.Context, repository string, b lock.Blob, report func(int64)) error {
	h, err := v1.NewHash(b.Digest)
	if err != nil || h.Algorithm != "sha256" {
		return inputf("digest %s: only sha256 is known", b.Digest)
	}
	repo, err := name.NewRepository(repository)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	client, err := v.registryClient(ctx, repo)
	if err != nil {
		return registryError(repo.Tag("latest"), err)
	}
	url := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), h)
	_, _, err = download{url: url, sha256: h.Hex, size: b.Size, client: client, pause: v.pause}.into(ctx, v.Store, report)
	return explain(err)
}

// registryClient returns a client that is logged in to a repository.
func (v *resolver) registryClient(ctx context.Context, repo name.Repository) (*http.Client, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.logins[repo.Name()]; c != nil {
		return c, nil
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, v.Client.Transport, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	if v.logins == nil {
		v.logins = map[string]*http.Client{}
	}
	v.logins[repo.Name()] = newClient(t)
	return v.logins[repo.Name()], nil
}

// registryError says in the registry's words what is wrong, with the way out.
func registryError(ref name.Reference, err error) error {
	err = fmt.Errorf("image %s: %w", ref, err)
	answer := (*transport.Error)(nil)
	switch {
	case !errors.As(err, &answer):
		return fault.Hint(err, "check the name and the network")
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return fault.Hint(fault.Mark(fault.Input, err), "docker login "+ref.Context().RegistryStr())
	case answer.StatusCode == http.StatusNotFound:
		return fault.Hint(fault.Mark(fault.Input, err), "check the name and tag")
	}
	return err
}

// eachBlob lists what a pinned image is made of, with the way to get it.
func (v *resolver) eachBlob(c lock.Container, add func(input)) {
	scheme, at := cutSource(c.Source)
	for _, b := range append([]lock.Blob{*c.Manifest, *c.Config}, c.Layers...) {
		digest := b.Digest[len("sha256:"):]
		in := input{title: "image " + c.Reference, digest: digest, size: b.Size, local: scheme != "registry"}
		switch {
		case scheme == "registry" && b == *c.Manifest:
			in.get = func(ctx context.Context, _ func(int64)) error { return v.remoteManifestAgain(ctx, at, b) }
		case scheme == "registry":
			in.get = func(ctx context.Context, report func(int64)) error { return v.registryBlob(ctx, at, b, report) }
		case scheme == "layout":
			in.get = func(ctx context.Context, report func(int64)) error {
				return v.importPinned(ctx, layoutBlob(v.local(at), digest), digest, report)
			}
		default:
			in.get = func(ctx context.Context, _ func(int64)) error { return v.archiveAgain(ctx, c, at, digest) }
		}
		add(in)
	}
}

// remoteManifestAgain fetches a manifest that the store lost.
func (v *resolver) remoteManifestAgain(ctx context.Context, repository string, b lock.Blob) error {
	ref, err := name.NewDigest(repository + "@" + b.Digest)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	h, err := v1.NewHash(b.Digest)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(v.Client.Transport)}
	got, err := remote.Get(ref, opts...)
	if err != nil {
		return registryError(ref, err)
	}
	return v.keep(ctx, got.Manifest, h)
}
