package recipe

import "regexp"

// What each recipe file says of itself.
const (
	APIVersion = "agibake/v1"
	Kind       = "Appliance"
)

// key says what a value may be. Decoder, JSON Schema and reference all read the one table below.
type key struct {
	doc      string
	enum     []string
	pattern  *regexp.Regexp // of text that is not empty
	expects  string         // what pattern wants, for a person
	names    *regexp.Regexp // of the keys of a mapping
	span     []float64      // least and greatest number
	preset   string         // YAML of the value that an absent key has
	computed string         // how an absent key gets its value, where preset cannot say it
	required bool           // must be there, and not empty
	unique   string         // what no two items of a list may share: a key of theirs, or "." for the item itself
	one      bool           // a mapping with exactly one of its keys
	lines    bool           // text may hold line breaks and tabs
}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }

var (
	label       = re(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	packageName = re(`^[a-z0-9][a-z0-9+.-]*$`)
	suiteName   = re(`^[a-z][a-z0-9.-]*$`)
	component   = re(`^[a-z][a-z0-9/-]*$`)
	mirror      = re(`^(https?://[^/\s]+|file:/)\S*$`)
	snapshot    = re(`^[0-9]{8}T[0-9]{6}Z$`)
	account     = re(`^[a-z_][a-z0-9_-]{0,31}$`)
	absolute    = re(`^/.*$`)
	envName     = re(`^[A-Za-z_][A-Za-z0-9_]*$`)
	fileName    = re(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

const (
	mirrorWords   = "an address such as http://archive.ubuntu.com/ubuntu"
	snapshotWords = "a time such as 20261101T000000Z"
	labelWords    = "a name of a-z, 0-9 and inner dashes, at most 63 long"
	absoluteWords = "an absolute path"
	packageWords  = "a package name"
	variableWords = "a variable name of letters, digits and _"
	accountWords  = "a login name of a-z, 0-9, _ and -, at most 32 long"
)

// keys is the recipe's grammar. A path ends in [] for the items of a list and in {} for the values of a mapping with
// free keys.
var keys = map[string]key{
	"apiVersion": {doc: "Version of this format. Each file says it.", enum: []string{APIVersion}, required: true},
	"kind":       {doc: "What the file describes. Each file says it.", enum: []string{Kind}, required: true},
	"name": {doc: "Name of the appliance: in file names, image tags and as its hostname.", required: true,
		pattern: label, expects: labelWords},
	"version": {doc: "Version of the appliance, as in a tag of an image.", required: true,
		pattern: re(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`), expects: "a version of letters, digits, dots and dashes, such as 1.0.0"},
	"extends": {doc: "Another recipe, relative to this file, that this one is laid over: mappings merge, lists append, `!replace` before a value replaces what was there."},

	"base":                            {doc: "The distribution that the system is made of."},
	"base.distribution":               {doc: "The distribution.", enum: []string{"ubuntu", "debian"}, preset: "ubuntu"},
	"base.release":                    {doc: "Its release by codename or suite.", pattern: suiteName, expects: "a release such as jammy", computed: "jammy, or bookworm with debian"},
	"base.mirror":                     {doc: "Package archive to read from; empty means the distribution's public one.", pattern: mirror, expects: mirrorWords},
	"base.snapshot":                   {doc: "Take the archive as it stood at this time, where the archive offers snapshots.", pattern: snapshot, expects: snapshotWords},
	"base.components":                 {doc: "Parts of the archive to use.", computed: "[main, restricted, universe], or [main] with debian", unique: "."},
	"base.components[]":               {pattern: component, expects: "a component such as main"},
	"base.checkValidUntil":            {doc: "Refuse an archive whose index is past its date. Signatures are checked in any case.", preset: "true"},
	"base.kernel":                     {doc: "Package of the kernel.", pattern: re(`^linux-image-[a-z0-9+.-]+$`), expects: "a package linux-image-…", computed: "linux-image-virtual, or linux-image-cloud-amd64 with debian"},
	"base.packages":                   {doc: "Packages to install besides those that the appliance cannot do without."},
	"base.packages[]":                 {pattern: packageName, expects: packageWords},
	"machine":                         {doc: "The virtual hardware that the appliance asks for."},
	"machine.cpus":                    {doc: "Processors.", span: []float64{1, 1024}, preset: "2"},
	"machine.memory":                  {doc: "Main memory, in whole steps of 4 MiB.", preset: "4GiB"},
	"machine.disk":                    {doc: "Whole disk, in whole MiB. It may be larger where the appliance runs: the state partition grows to it.", preset: "16GiB"},
	"machine.systemSize":              {doc: "The part of the disk for the system; the state gets the rest.", preset: "6GiB"},
	"machine.firmware":                {doc: "Ways to start that the disk supports.", preset: "[bios, uefi]", required: true, unique: "."},
	"machine.firmware[]":              {enum: []string{"bios", "uefi"}},
	"machine.secureBoot":              {doc: "Ask hosts to enforce Secure Boot with the stock keys.", computed: "true where the firmware holds uefi"},
	"access":                          {doc: "Who may log in."},
	"access.hostname":                 {doc: "Host name of the appliance.", pattern: label, expects: labelWords, computed: "the appliance's name"},
	"access.users":                    {doc: "Logins. Nobody has a password.", unique: "name"},
	"access.users[].name":             {doc: "Login name.", required: true, pattern: account, expects: accountWords},
	"access.users[].sudo":             {doc: "May become root without a password.", preset: "false"},
	"access.users[].groups":           {doc: "Further groups.", unique: "."},
	"access.users[].groups[]":         {pattern: account, expects: "a group name"},
	"access.users[].shell":            {doc: "Login shell.", preset: "/bin/bash", pattern: absolute, expects: absoluteWords},
	"access.users[].authorizedKeys":   {doc: "SSH public keys that may log in.", unique: "."},
	"access.users[].authorizedKeys[]": {lines: true},

	"gpu":        {doc: "The NVIDIA driver stack; without this key there is none."},
	"gpu.driver": {doc: "Branch of Ubuntu's driver packages. Open modules need Turing or newer.", required: true, pattern: re(`^[0-9]{3}(-server)?(-open)?$`), expects: "a driver branch such as 580-server-open"},
	"gpu.cuda":   {doc: "CUDA version that the containers need; checked against the driver.", pattern: re(`^[0-9]{1,2}\.[0-9]$`), expects: `a CUDA version such as "12.4"`},

	"containers":                                  {doc: "Services of the appliance, placed in docker's own store at bake time.", unique: "name"},
	"containers[].name":                           {doc: "Name of the container and its compose service.", required: true, pattern: label, expects: labelWords},
	"containers[].image":                          {doc: "Where the image comes from: exactly one of registry, layout, archive and packages.", required: true, one: true},
	"containers[].image.registry":                 {doc: "Image of a registry, with tag or digest."},
	"containers[].image.layout":                   {doc: "OCI layout: FOLDER or FOLDER:TAG, relative to this file."},
	"containers[].image.archive":                  {doc: "Archive that `docker save` wrote, relative to this file."},
	"containers[].image.packages":                 {doc: "An image that the bake builds from a distribution's packages."},
	"containers[].image.packages.distribution":    {doc: "The distribution.", enum: []string{"ubuntu", "debian"}, required: true},
	"containers[].image.packages.release":         {doc: "Its release by codename or suite.", required: true, pattern: suiteName, expects: "a release such as bookworm"},
	"containers[].image.packages.mirror":          {doc: "Package archive to read from; empty means the distribution's public one.", pattern: mirror, expects: mirrorWords},
	"containers[].image.packages.snapshot":        {doc: "Take the archive as it stood at this time.", pattern: snapshot, expects: snapshotWords},
	"containers[].image.packages.components":      {doc: "Parts of the archive to use.", computed: "[main, universe], or [main] with debian", unique: "."},
	"containers[].image.packages.components[]":    {pattern: component, expects: "a component such as main"},
	"containers[].image.packages.checkValidUntil": {doc: "Refuse an archive whose index is past its date. Mirrors of moving suites need false. Signatures are checked in any case.", preset: "true"},
	"containers[].image.packages.include":         {doc: "Packages to install; what they depend on comes along.", required: true},
	"containers[].image.packages.include[]":       {pattern: packageName, expects: packageWords},
	"containers[].image.packages.entrypoint":      {doc: "Program to run, by absolute path, and its first arguments.", required: true},
	"containers[].image.packages.entrypoint[]":    {lines: true},
	"containers[].image.packages.env":             {doc: "Environment of the image.", names: envName, expects: variableWords},
	"containers[].image.packages.env{}":           {lines: true},
	"containers[].image.packages.workingDir":      {doc: "Folder to start in.", pattern: absolute, expects: absoluteWords},
	"containers[].image.packages.user":            {doc: "User to run as: UID, UID:GID or names of the image.", pattern: re(`^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$`), expects: "a user such as 1000:1000", computed: "root"},
	"containers[].args":                           {doc: "Arguments after the image's entry point."},
	"containers[].args[]":                         {lines: true},
	"containers[].env":                            {doc: "Environment.", names: envName, expects: variableWords},
	"containers[].env{}":                          {lines: true},
	"containers[].ports":                          {doc: "Published ports: [ADDRESS:]HOST:CONTAINER[/tcp|udp].", unique: "."},
	"containers[].ports[]":                        {pattern: portPattern, expects: "a port such as 127.0.0.1:8081:8081"},
	"containers[].mounts":                         {doc: "Folders of the state tree inside the container: models, docker, boot, logs or memory, [/SUB]:/PATH[:ro].", unique: "."},
	"containers[].mounts[]":                       {pattern: mountPattern, expects: "a mount such as models:/models:ro, of models, docker, boot, logs or memory"},
	"containers[].gpu":                            {doc: "Give the container the GPUs.", preset: "false"},
	"containers[].restart":                        {doc: "When docker starts it again.", enum: []string{"always", "unless-stopped", "on-failure", "no"}, preset: "always"},

	"models":          {doc: "Weights, placed under models/ of the state.", unique: "name"},
	"models[].name":   {doc: "Name of the model.", required: true, pattern: fileName, expects: "a name of letters, digits, dots and dashes"},
	"models[].file":   {doc: "File under models/.", required: true},
	"models[].source": {doc: "Where it comes from: https://…, http://… (with sha256), file:PATH relative to this file, oci:FOLDER[:TAG] relative to this file, or oci://HOST/REPOSITORY:TAG.", required: true},
	"models[].sha256": {doc: "Digest of the file. Without it the lock pins what the first download gave.", pattern: re(`^[0-9a-f]{64}$`), expects: "a SHA-256 digest of 64 characters 0-9 and a-f"},

	"files":           {doc: "Files to place in the system.", unique: "path"},
	"files[].path":    {doc: "Absolute path in the appliance.", required: true},
	"files[].content": {doc: "The text itself; or give a source.", lines: true},
	"files[].source":  {doc: "A file relative to this recipe, instead of content."},
	"files[].mode":    {doc: "Permissions in octal, in quotes.", preset: `"0644"`, pattern: re(`^0?[0-7]{3,4}$`), expects: `an octal mode such as "0644"`},
	"files[].owner":   {doc: "USER or USER:GROUP.", preset: "root:root", pattern: re(`^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$`), expects: "an owner such as root:root"},

	"units":           {doc: "systemd units to add.", unique: "name"},
	"units[].name":    {doc: "Name with its type.", required: true, pattern: re(`^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|target|timer|mount|automount|path|slice|swap)$`), expects: "a unit name such as extra.service"},
	"units[].content": {doc: "The unit file.", required: true, lines: true},
	"units[].enable":  {doc: "Start it at boot, as its [Install] section says.", preset: "false"},

	"shares":           {doc: "Folders of the host or the network, mounted at boot.", unique: "target"},
	"shares[].type":    {doc: "Kind of share.", required: true, enum: []string{"nfs", "smb", "virtiofs", "9p", "vboxsf", "vmhgfs"}},
	"shares[].source":  {doc: "What to mount: HOST:/EXPORT (nfs), //HOST/SHARE (smb), a tag (virtiofs, 9p), a name (vboxsf), .host:/NAME (vmhgfs).", required: true},
	"shares[].target":  {doc: "Absolute path of the mount point.", required: true},
	"shares[].options": {doc: "Mount options, separated by commas.", pattern: re(`^\S+$`), expects: "options separated by commas"},

	"agent":                       {doc: "The program of agibake inside the appliance."},
	"agent.listen":                {doc: "[ADDRESS]:PORT of its web page.", preset: `":8443"`, required: true},
	"agent.modes":                 {doc: "Ways of thinking, by name.", names: re(`^\p{L}[\p{L}\p{N}_-]{0,31}$`), expects: "a name that begins with a letter, of letters, digits, _ and -"},
	"agent.modes{}":               {},
	"agent.modes{}.systemPrompt":  {doc: "What the model is told first.", required: true, lines: true},
	"agent.modes{}.temperature":   {doc: "Sampling temperature; 0 always takes the likeliest word.", span: []float64{0, 2}, computed: "the model server's own"},
	"agent.startup":               {doc: "What happens once the model answers."},
	"agent.startup.greeting":      {doc: "Question that the self-test asks.", lines: true, computed: "none"},
	"agent.logs":                  {doc: "Where traces go."},
	"agent.logs.ship":             {doc: "Services that get a copy of the traces: `loki: http://HOST:3100`."},
	"agent.logs.ship[]":           {names: re(`^loki$`), expects: "a service that traces can go to: loki"},
	"agent.logs.ship[]{}":         {pattern: re(`^https?://[^/\s]+\S*$`), expects: "an address such as http://loki:3100"},
	"selftest":                    {doc: "What the appliance proves at each boot."},
	"selftest.timeout":            {doc: "How long all checks may take, from 1s to 24h.", preset: "5m"},
	"selftest.minTokensPerSecond": {doc: "Least speed of the model that passes.", span: []float64{0, 1e6}, preset: "0"},
	"selftest.require":            {doc: "Checks that must pass; the others only warn. An empty list lets all of them only warn.", unique: ".", computed: "state, identity, web; docker and container with containers; model with models too; speed with minTokensPerSecond; gpu with gpu"},
	"selftest.require[]":          {enum: []string{"state", "clock", "docker", "container", "model", "speed", "gpu", "web", "identity", "space", "units"}},
	"outputs":                     {doc: "Disk images to write.", preset: "[qcow2]", required: true, unique: "."},
	"outputs[]":                   {enum: []string{"raw", "qcow2", "vmdk", "ova"}},
	"sign":                        {doc: "Sign the appliance."},
	"sign.key":                    {doc: "cosign private key, relative to this file.", required: true},
}
