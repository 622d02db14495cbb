#!/bin/bash
# The plans that run.sh takes to a GPU: each spec of test/gpu/specs for the GPU, and its reference for a processor.
# Options for moec-lockstep stand in SPEC's name with .args, if it has some.
# usage: test/gpu/plans.sh FOLDER [SPEC...]     SPEC: another .json than those of test/gpu/specs
# MOEC names the compiler (default build/bin/moec). References run on any x86-64 processor with AVX2.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
moec=${MOEC:-$root/build/bin/moec}
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
folder=$1
shift
[ $# -gt 0 ] || set -- "$root"/test/gpu/specs/*.json
mkdir -p "$folder/data"
cat "$root"/docs/*.md "$root"/docs/spec/*.md > "$folder/data/text.txt"
for spec in "$@"; do
  name=$(basename "$spec" .json)
  "$moec" compile "$spec" --target sm_90a -o "$folder/$name.moec"
  "$moec" compile "$spec" --target x86-64-v3 --like sm_90a --reference -o "$folder/$name.ref.moec"
  if [ -e "${spec%.json}.args" ]; then cp "${spec%.json}.args" "$folder/$name.args"; else echo "--guard 1" > "$folder/$name.args"; fi
done
