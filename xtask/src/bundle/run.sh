#!/usr/bin/env bash
# Unpacks the bundle that lies beside this script and runs its binaries.
#   run.sh NAME [ARGS…]    runs one binary
#   run.sh --all-tests     runs every test binary
#   run.sh --list          names the binaries
#   run.sh --unpack        only unpacks; parts of an incomplete archive are kept for the next time
# Needs bash, tar, and xz or python3. Unpacks into ACCELERANT_BUNDLE_DIR, by default a folder of this user's alone in
# the temporary folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "run.sh: $*" >&2; }

dir=${ACCELERANT_BUNDLE_DIR:-}
if [ -z "$dir" ]; then
  dir=${TMPDIR:-/tmp}/accelerant-bundle-$(id -u)
  mkdir -m 700 "$dir" 2>/dev/null || true
  # Anybody may have made it first, with programs of theirs in it.
  if [ -L "$dir" ] || [ ! -d "$dir" ] || [ ! -O "$dir" ] || [ -n "$(find "$dir" -prune -perm /077)" ]; then
    say "$dir is not this user's alone: remove it, or set ACCELERANT_BUNDLE_DIR"
    exit 4
  fi
fi
mkdir -p "$dir/parts"
dir=$(cd "$dir" && pwd)

decompress() {
  if command -v xz >/dev/null; then
    xz -dc
  else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer, 1 << 20)'
  fi
}

# unpack NAME FOLDER: notes when the archive is not whole yet. (No status: called in a condition,
# a function goes on after errors.)
complete=1
unpack() {
  local name=$1 folder=$2 manifest=$here/$1.tar.xz.manifest
  [ -f "$manifest" ] || return 0
  local hash sum part path
  local whole=() missing=()
  read -r _ hash _ <"$manifest"
  [ "$(cat "$dir/$name.unpacked" 2>/dev/null)" != "$hash" ] || return 0
  while read -r sum part; do
    [ "$sum" != "#" ] || continue
    path=
    for path in "$here/$part" "$dir/parts/$part"; do
      if [ ! -f "$path" ]; then path=; continue; fi
      command -v sha256sum >/dev/null || break
      if echo "$sum  $path" | sha256sum --check --status; then break; fi
      [ "$path" != "$here/$part" ] || say "$part is damaged"
      path=
    done
    if [ -n "$path" ]; then whole+=("$path"); else missing+=("$part"); fi
  done <"$manifest"
  if [ ${#missing[@]} -gt 0 ]; then
    say "$name: ${#whole[@]} parts are here, missing: ${missing[*]}"
    for path in "${whole[@]+"${whole[@]}"}"; do
      [ "$path" -ef "$dir/parts/${path##*/}" ] || cp "$path" "$dir/parts/"
    done
    complete=0
    return
  fi
  say "unpacking $name into $dir/$folder"
  rm -rf "$dir/$folder.new"
  mkdir -p "$dir/$folder.new" "$dir/$(dirname "$folder")"
  cat "${whole[@]}" | decompress | tar -xf - -C "$dir/$folder.new"
  rm -rf "${dir:?}/$folder"
  mv "$dir/$folder.new" "$dir/$folder"
  echo "$hash" >"$dir/$name.unpacked"
  rm -f "$dir/parts/$name.tar.xz."*
}

unpack sdk sdk/lib
unpack lean lean/lib
unpack bin bin

if [ "${1:---list}" = --unpack ]; then exit 0; fi
if [ $complete = 0 ]; then
  say "bring the missing parts first"
  exit 3
fi

path=
add() { [ ! -d "$1" ] || path=$path${path:+:}$1; }
add "$dir/sdk/lib"
add "$dir/lean/lib"
add /usr/local/cuda/lib64
# Without empty elements, which would be the working directory.
IFS=: read -r -a rest <<<"${LD_LIBRARY_PATH:-}"
for folder in "${rest[@]+"${rest[@]}"}"; do
  [ -z "$folder" ] || path=$path${path:+:}$folder
done
if [ -n "$path" ]; then export LD_LIBRARY_PATH=$path; else unset LD_LIBRARY_PATH; fi
# Tests leave the user's cache of engines alone.
export ACCELERANT_ENGINE_CACHE=${ACCELERANT_ENGINE_CACHE-off}
[ ! -d "$dir/sdk" ] || export TENSORRT_RTX_ROOT=$dir/sdk
[ ! -d "$dir/lean" ] || export TENSORRT_ROOT=$dir/lean

case ${1:---list} in
--list)
  for path in "$dir"/bin/*; do
    [ "${path##*/}" = tests.list ] || echo "${path##*/}"
  done
  ;;
--all-tests)
  shift
  count=0 failed=()
  while read -r name <&3; do
    count=$((count + 1))
    say "== $name"
    "$dir/bin/$name" "$@" || failed+=("$name")
  done 3<"$dir/bin/tests.list"
  if [ ${#failed[@]} -gt 0 ]; then
    say "${#failed[@]} of $count failed: ${failed[*]}"
    exit 1
  fi
  say "all $count passed"
  ;;
*)
  if [ ! -x "$dir/bin/$1" ]; then
    say "no binary \`$1\`; try --list"
    exit 2
  fi
  exec "$dir/bin/$1" "${@:2}"
  ;;
esac
