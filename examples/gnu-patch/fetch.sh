#!/bin/sh
# Fetches GNU patch as Debian has it, into source/ beside this script: the original sources, with Debian's changes in
# source/debian, checked by apt. Takes the mirror that apt is set up with; changes nothing outside this folder.
set -eu
cd "$(dirname "$0")"
suite=bookworm
version=2.7.6-7
original=patch_2.7.6.orig.tar.xz

# What an update would fetch: known without ever having made one.
mirror=$(apt-get --print-uris update | sed -n "s|^'\(.*\)/dists/.*|\1|p" | grep -m 1 -E '/debian(\.list)?/?$') || {
  echo "fetch.sh: apt is set up with no mirror of Debian; see sources.list(5)" >&2
  exit 1
}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=
if [ -e "$keyring" ]; then signed="[signed-by=$keyring]"; fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/got"
echo "deb-src $signed $mirror $suite main" >"$scratch/sources.list"
get() {
  apt-get -q -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User="$(id -un)" \
    -o Acquire::Retries=5 "$@"
}
get update
(cd "$scratch/got" && get source --download-only "patch=$version")

rm -rf source "$scratch/source"
mkdir "$scratch/source"
tar -C "$scratch/source" --strip-components=1 --no-same-owner -xf "$scratch/got/$original"
tar -C "$scratch/source" --no-same-owner -xf "$scratch/got/patch_$version.debian.tar.xz"
cp "$scratch/got/$original" "$scratch/source/debian/orig.tar.xz"
mv "$scratch/source" source
echo "fetch.sh: source/ is GNU patch $version, with $(grep -c '^[^#]' source/debian/patches/series) patches"
