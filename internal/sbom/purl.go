package sbom

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/lock"
)

// purl is a package URL (package-url/purl-spec). Qualifiers are NAME=VALUE in pairs; those without a value are left out.
func purl(kind, name, version string, qualifiers ...string) string {
	s := "pkg:" + strings.TrimSuffix(kind, "/") + "/" + escape(name)
	if version != "" {
		s += "@" + escape(version)
	}
	var list []string
	for i := 0; i+1 < len(qualifiers); i += 2 {
		if value := qualifiers[i+1]; value != "" {
			list = append(list, qualifiers[i]+"="+strings.ReplaceAll(escape(value), "%2F", "/"))
		}
	}
	slices.Sort(list)
	if len(list) > 0 {
		s += "?" + strings.Join(list, "&")
	}
	return s
}

// escape encodes everything but what the specification leaves as it is.
func escape(s string) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	return strings.ReplaceAll(s, "%3A", ":")
}

// hugging is the address of a file on huggingface.co at a commit.
var hugging = regexp.MustCompile(`^https://huggingface\.co/([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)/resolve/([0-9a-f]{40})/`)

// modelPURL names weights by where they come from.
func modelPURL(name, source, sum string) string {
	if m := hugging.FindStringSubmatch(source); m != nil {
		return purl("huggingface/"+m[1], m[2], m[3])
	}
	return purl("generic", name, "", "checksum", "sha256:"+sum, "download_url", download(source))
}

// download is the public address of a source; SPDX has no form for the oci scheme.
func download(source string) string {
	if strings.HasPrefix(source, "oci:") {
		return ""
	}
	return lock.Public(source)
}
