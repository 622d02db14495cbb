#!/usr/bin/env bash
# One spec on one rank, on threads, on processes, and through a kill: the same bits. See README.md.
#
#   samples/07-many-ranks/run.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
build=${MOEC_BUILD_DIR:-$root/build}
case $build in /*) ;; *) build=$OLDPWD/$build ;; esac
export MOEC_BUILD_DIR=$build
start=$SECONDS

"$root/.ci/setup.sh"
PATH=$build/bin:$PATH
"$root/samples/01-first-run/make_corpus.sh"

last=checkpoints/step-00000120
say() { printf '\n== %s\n' "$*"; }
# Whether the last checkpoints of two runs hold the same bytes.
same() {
  cmp "runs/$1/$last/model-00001-of-00001.safetensors" "runs/$2/$last/model-00001-of-00001.safetensors"
  printf '%s and %s: every byte of the last checkpoint is the same\n' "$1" "$2"
}
loss() { grep '"validation"' "runs/$1/metrics.jsonl" | tail -1 | grep -o '"loss":[0-9.]*' | head -1 | cut -d: -f2; }
rm -rf runs
mkdir -p runs

say "one rank"
moec train spec.json --run-dir runs/one
say "four ranks, threads of one process"
moec train data-4.json --run-dir runs/threads
same one threads

if command -v mpirun > /dev/null && [ -e "$build/lib/moec/libmoec-mpi-openmpi.so" ]; then
  # Open MPI asks for these when root starts more processes than there are cores.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  say "four ranks, processes; one of them is killed in the middle"
  mpirun --oversubscribe -n 4 moec train data-4.json --run-dir runs/killed > runs/killed.log 2>&1 &
  job=$!
  until [ -e runs/killed/checkpoints/step-00000030 ]; do
    kill -0 $job || { cat runs/killed.log; exit 1; }
    sleep 0.2
  done
  pkill -9 -n -f "moec train data-4.json --run-dir runs/killed"
  if wait $job; then echo "the job went on without one of its ranks"; exit 1; fi
  ls runs/killed/checkpoints
else
  say "no Open MPI, or moec was built without it: the first part runs on threads"
  moec train data-4.json --run-dir runs/killed --max-steps 40
fi
say "on two ranks"
moec train data-2.json --run-dir runs/killed --resume --max-steps 20
say "and on eight"
moec train data-8.json --run-dir runs/killed --resume
same one killed

say "two data ranks times two ranks that share the experts"
moec train data-2-experts-2.json --run-dir runs/experts
printf 'validation loss: one rank %s, experts over ranks %s\n' "$(loss one)" "$(loss experts)"

printf '\nDone in %d s.\n' $((SECONDS - start))
