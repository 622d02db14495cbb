#!/usr/bin/env bash
# From a fresh Debian 12 to a trained model: installs what is missing, builds moec, makes a corpus, trains, evaluates,
# and lets the model write. Works from any directory. A second run trains anew, in the same folder (run, beside this file).
#
#   samples/01-first-run/run.sh [OPTION...]     options go to `moec train`, for example: --threads 1
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
build=${MOEC_BUILD_DIR:-$root/build}
case $build in /*) ;; *) build=$OLDPWD/$build ;; esac
export MOEC_BUILD_DIR=$build
start=$SECONDS

# Says what is run, and runs it.
show() {
  printf '\n$ %s\n' "${*@Q}" | sed "s/'\([A-Za-z0-9_.,:=\/+-]*\)'/\1/g"
  "$@"
}
trap 'test $? -eq 0 || printf "\nrun.sh: stopped; the lines above say why. Once that is mended, run it again.\n" >&2' EXIT

"$root/.ci/setup.sh"
PATH=$build/bin:$PATH

show ./make_corpus.sh
show moec check spec.json
# The folder "run" is the sample's own, so what it holds from last time may go.
show moec train spec.json --run-dir run --overwrite "$@"
# Training has left the plan beside the run folder; no need to compile again.
show moec eval run.moec --run-dir run
for prompt in 'The package ' 'template <typename _Tp' 'Das Paket '; do
  show moec generate run.moec --run-dir run --prompt "$prompt" --bytes 200 --temperature 0.5
done

printf '\nDone in %d s. All of it is in %s:\n' $((SECONDS - start)) "$PWD"
cat << TEXT
  spec.json          the experiment
  run.moec           the compiled plan: moec inspect run.moec
  run/metrics.jsonl  loss, learning rate, tokens of each expert, ... of the logged steps
  run/checkpoints    the newest two checkpoints (safetensors)
The programs are in $build/bin. What to try next: docs/getting-started.md
TEXT
