#!/usr/bin/env bash
# From a fresh Debian 12 to a trained model: installs what is missing, builds moec, makes a corpus, trains, evaluates,
# and lets the model write. Works from any directory. A second run trains anew, in the same folder (run, beside this file).
#
#   samples/01-first-run/run.sh [OPTION...]     options go to `moec train`, for example: --threads 1
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${MOEC_BUILD_DIR:-$root/build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
export MOEC_BUILD_DIR=$build
spec=$here/spec.json
run=$here/run
start=$SECONDS

step() { printf '\n== %s\n' "$*"; }
trap 'printf "\nrun.sh: stopped at this step; what went wrong is said above. It is safe to run it again.\n" >&2' ERR

step "setup: packages and build"
"$root/.ci/setup.sh"
PATH=$build/bin:$PATH

step "corpus"
"$here/make_corpus.sh"

step "moec check spec.json"
moec check "$spec"

step "moec train spec.json"
# This folder is the sample's own, so the run of last time may go.
moec train "$spec" --run-dir "$run" --overwrite "$@"

step "moec eval spec.json"
moec eval "$spec" --run-dir "$run"

for prompt in "The package " "template <typename _Tp" "Das Paket "; do
  step "moec generate spec.json --prompt '$prompt'"
  moec generate "$spec" --run-dir "$run" --prompt "$prompt" --bytes 200
done

step "done in $((SECONDS - start)) s"
cat << TEXT
the spec          $spec
metrics           $run/metrics.jsonl
checkpoints       $run/checkpoints
the programs      $build/bin
write on          $build/bin/moec generate $spec --run-dir $run --prompt 'Once'
where next        docs/getting-started.md
TEXT
