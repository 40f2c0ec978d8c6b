package preload

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/agibake/agibake/internal/fault"
)

// The grammar of image references (distribution, reference/regexp.go's documentation).
var (
	hostName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	repository = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// Name completes an image reference as Docker does and returns the name under which it keeps the image. A reference
// by digest must carry the digest of the manifest itself, or Docker would not find the image by it.
func Name(reference string, manifest digest.Digest) (string, error) {
	name, wanted, byDigest := strings.Cut(reference, "@")
	if byDigest && wanted != string(manifest) {
		return "", fault.Hint(fmt.Errorf("reference %.200q: the image's manifest is %s", reference, manifest),
			"give the image a tag, or the digest of its manifest for this platform instead of that of an index")
	}
	host, repo, slash := strings.Cut(name, "/")
	if !slash || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, repo = "docker.io", name
	}
	tag := "latest"
	if i := strings.LastIndexByte(repo, ':'); i >= 0 {
		repo, tag = repo[:i], repo[i+1:]
	}
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(repo, "/") {
		repo = "library/" + repo
	}
	if len(host)+len(repo) > 254 || !hostName.MatchString(host) || !repository.MatchString(repo) || !tagName.MatchString(tag) {
		return "", fmt.Errorf("%.200q is not an image reference", reference)
	}
	if byDigest {
		return host + "/" + repo + "@" + wanted, nil
	}
	return host + "/" + repo + ":" + tag, nil
}
