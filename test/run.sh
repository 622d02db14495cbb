#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. Works from any directory; can be repeated.
#
#   test/run.sh                 every test
#   test/run.sh -L unit         the tests of one label: lit unit spec cli numerics golden lint
#   test/run.sh -R name         the tests whose name matches; all options go to ctest
#
# Environment: MOEC_BUILD_DIR, MOEC_JOBS, MOEC_SKIP_PACKAGES (see .ci/setup.sh), MOEC_CACHE.
set -euo pipefail

case ${1:-} in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${MOEC_BUILD_DIR:-$root/build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
export MOEC_BUILD_DIR=$build
# Tests share compiled kernels with each other, not with what else is compiled here.
export MOEC_CACHE=${MOEC_CACHE:-$build/test/kernel-cache}
start=$SECONDS

"$root/.ci/setup.sh" --with-tests
built=$SECONDS

status=0
ctest --test-dir "$build" --output-on-failure --no-tests=error -j "$(nproc)" "$@" || status=$?
times="setup and build $((built - start)) s, tests $((SECONDS - built)) s"
if [ "$status" -eq 0 ]; then
  printf 'test/run.sh: all passed (%s)\n' "$times"
else
  printf 'test/run.sh: FAILED (%s)\n' "$times" >&2
  printf '  one test again:  test/run.sh -R NAME    its output: %s/Testing/Temporary/LastTest.log\n' "$build" >&2
fi
exit "$status"
