#!/bin/bash
# Everything that needs a GPU, on a machine that has one and need have no compiler of ours.
# usage: test/gpu/run.sh [--sanitize NAMES] [--bench SECONDS] [PLANS]
#   PLANS              a folder of plans compiled elsewhere (plans.sh):
#     NAME.moec          for the GPU: a short `bench`, whose loss must be finite
#     NAME.ref.moec      the reference (moec compile --like sm_90a --reference): moec-lockstep, dispatch by dispatch
#     NAME.args          more options for moec-lockstep
#     data/              data files: five steps of training, twice, must give the same bits
#   --sanitize NAMES   these plans (a,b; with a reference) under compute-sanitizer, memcheck and racecheck: init,
#                      steps, evaluation and generation launch by launch, and memcheck of a recorded step
#   --bench SECONDS    how long each plan is measured (default 2)
# Builds the runtime alone in $MOEC_GPU_BUILD (default build/gpu). Exit code 0 when all is good, 77 without a GPU.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${MOEC_GPU_BUILD:-$root/build/gpu}
sanitize= seconds=2 plans=
while [ $# -gt 0 ]; do
  case $1 in
    --sanitize) sanitize=$2; shift ;;
    --bench) seconds=$2; shift ;;
    -*) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) plans=$1 ;;
  esac
  shift
done

generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi
start=$(date +%s)
mkdir -p "$(dirname "$build")"
# shellcheck disable=SC2086 # MOEC_CMAKE_OPTIONS is a list
if ! { cmake -S "$root/runtime" -B "$build" "${generator[@]}" -DMOEC_RUNTIME_TESTS=OFF ${MOEC_CMAKE_OPTIONS:-} &&
       cmake --build "$build" -j "$(nproc)"; } > "$build.log" 2>&1; then
  tail -40 "$build.log"
  exit 1
fi
echo "runtime built in $(($(date +%s) - start)) s"

failed=0
check() { # NAME LINES COMMAND...: the last lines of each check, more of those that fail
  local name=$1 lines=$2 log code run=(timeout 300)
  shift 2
  if [ "$(type -t "$1")" = function ]; then run=(); fi # functions set limits of their own
  log=$(mktemp)
  "${run[@]}" "$@" > "$log" 2>&1
  code=$?
  if [ $code -eq 0 ]; then
    echo "ok      $name: $(tail -"$lines" "$log")"
  else
    echo "FAILED  $name (exit code $code)"
    failed=$((failed + 1))
    head -30 "$log" # tables have the worst first
    echo ...
    tail -4 "$log"
  fi
  rm -f "$log"
  return $code
}

"$build/bin/moec-gpu-driver" "$root/test/gpu/driver/kernels.ptx" > "$build.driver.log" 2>&1
code=$?
if [ $code -eq 77 ]; then
  tail -1 "$build.driver.log"
  exit 77
fi
check driver 1 test $code -eq 0 || cat "$build.driver.log"
[ -n "$plans" ] || exit $((failed > 0))

metrics_of() { # what must be the same in two runs
  sed -E 's/"(time_s|tokens_per_s)":[^,}]*,?//g' "$1/metrics.jsonl"
}

twice() { # PLAN: the same bits two times
  local a b
  a=$(mktemp -d) b=$(mktemp -d)
  "$build/bin/moec-run" "$1" train --max-steps 5 --data-dir "$plans/data" --run-dir "$a/run" &&
    "$build/bin/moec-run" "$1" train --max-steps 5 --data-dir "$plans/data" --run-dir "$b/run" > /dev/null &&
    diff <(metrics_of "$a/run") <(metrics_of "$b/run") && echo "five steps, twice, are the same"
  local code=$?
  rm -rf "$a" "$b"
  return $code
}

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
sanitized() { # TOOL COMMAND...
  timeout 300 "$sanitizer" --tool "$1" --error-exitcode 9 --print-limit 5 "${@:2}"
}

for plan in "$plans"/*.moec; do
  name=$(basename "$plan" .moec)
  case $name in *.ref) continue ;; esac
  reference=$plans/$name.ref.moec
  if [ -e "$reference" ]; then
    args=()
    if [ -e "$plans/$name.args" ]; then read -r -a args < "$plans/$name.args"; fi
    check "$name lockstep" 1 "$build/bin/moec-lockstep" "$reference" "$plan" "${args[@]}"
    case ,$sanitize, in *,$name,*)
      # Launch by launch: nothing is compared, so that only the device's work counts.
      check "$name memcheck" 1 sanitized memcheck "$build/bin/moec-lockstep" "$reference" "$plan" --steps 2 --only "(none)"
      check "$name racecheck" 1 sanitized racecheck "$build/bin/moec-lockstep" "$reference" "$plan" --only "(none)"
      check "$name memcheck of a recording" 1 \
        sanitized memcheck "$build/bin/moec-run" "$plan" bench --warmup 2 --seconds 0.001
    esac
  fi
  if [ -d "$plans/data" ]; then check "$name repeats" 1 twice "$plan"; fi
  check "$name bench" 3 "$build/bin/moec-run" "$plan" bench --seconds "$seconds"
done
echo "$failed failed"
exit $((failed > 0))
