#!/bin/sh
# Restores a snapshot without agibake: with oras, zstd, tar, sha256sum, and age where it is sealed.
#
#   restore-by-hand.sh HOST/REPOSITORY:TAG FOLDER [KEY]      KEY: what age -d -i takes
#
# FOLDER must not exist. ORAS_FLAGS may hold flags for oras, such as --from-plain-http. A layout on disk does as well:
#
#   restore-by-hand.sh oci:LAYOUT:TAG FOLDER [KEY]
set -eu
ref=$1 to=$2 key=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$to" "$work/pieces"

case $ref in
oci:*) layout=${ref#oci:} tag=${layout##*:} layout=${layout%:*} ;;
*) layout=$work/layout tag=${ref##*:}
	# shellcheck disable=SC2086
	oras cp --recursive ${ORAS_FLAGS:-} --to-oci-layout "$ref" "$layout:$tag" >/dev/null ;;
esac
blobs=$layout/blobs/sha256

# digests TYPE DOCUMENT: the digests that a document lists with a media type or an artifact type.
digests() { tr '{}' '\n\n' <"$2" | grep -F "\"$1\"" | sed -n 's/.*"digest":"sha256:\([0-9a-f]*\)".*/\1/p'; }
blob() { echo "$1  $blobs/$1" | sha256sum -c --quiet && cat "$blobs/$1"; }
opened() { if [ -n "$key" ]; then blob "$1" | age -d -i "$work/key"; else blob "$1"; fi; }

index=$(tr '{}' '\n\n' <"$layout/index.json" | grep -A1 -F '"digest"' | tr '\n' ' ' | sed 's/"mediaType"/\n&/g' |
	grep -F "\"org.opencontainers.image.ref.name\":\"$tag\"" | sed -n 's/.*"digest":"sha256:\([0-9a-f]*\)".*/\1/p')
blob "$index" >"$work/index"
state=$(digests application/vnd.agibake.state.v1+json "$work/index" | head -n 1)
blob "$state" >"$work/state"
end=
if [ -n "$key" ]; then
	end=+age
	blob "$(digests application/vnd.agibake.state.key.v1+age "$work/state")" | age -d -i "$key" >"$work/key"
fi

# Pieces: each is a file of its own name, in a pack or as a blob.
for d in $(digests "application/vnd.agibake.state.piece.v1$end" "$work/state") $(digests "application/vnd.agibake.state.pack.v1.tar+zstd$end" "$work/state"); do
	opened "$d" >"$work/blob"
	if zstd -dcq "$work/blob" 2>/dev/null | tar -x -C "$work/pieces" 2>/dev/null; then :; else
		mv "$work/blob" "$work/pieces/$(sha256sum <"$work/blob" | cut -d' ' -f1)"
	fi
done

opened "$(digests "application/vnd.agibake.state.tree.v1+zstd$end" "$work/state")" | zstd -dcq | tail -n +2 >"$work/tree"
while read -r kind a b c rest; do
	case $kind in
	d | l) path=$to/$(printf '%b' "$rest") ;;
	f) path=$to/$(printf '%b' "${rest#* * * }") ;;
	esac
	case $kind in
	d) mkdir "$path" ;;
	f) : >"$path" && chmod "$a" "$path" ;;
	t) ln -s "$(printf '%b' "$a${b:+ $b}${c:+ $c}${rest:+ $rest}")" "$path" ;;
	p) if [ -e "$work/pieces/$b" ]; then cat "$work/pieces/$b"; else blob "$b"; fi >>"$path" ;;
	esac
done <"$work/tree"

# The sums of whole files, and then the modes of folders: some may forbid writing.
while read -r kind a b c rest; do
	[ "$kind" = f ] || continue
	sum=${rest#* } path=$to/$(printf '%b' "${rest#* * * }")
	[ "$(sha256sum <"$path" | cut -d' ' -f1)" = "${sum%% *}" ] || { echo "$path is damaged" >&2; exit 1; }
done <"$work/tree"
tac "$work/tree" | while read -r kind a b c rest; do
	[ "$kind" != d ] || chmod "$a" "$to/$(printf '%b' "$rest")"
done
