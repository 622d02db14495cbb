#!/usr/bin/env bash
# Trains every member of sweep.json, one after another, writes report.html and checks what the methods are said to do.
# A second run goes on where the first was stopped.
#
#   samples/06-compare-routers/run.sh [OPTION...]     options go to `moec train`, for example: --member muon
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

moec train sweep.json -o runs "$@"
moec report runs -o report.html
python3 check.py runs

printf '\nDone in %d s. runs/ has a folder for each member, report.html shows them side by side.\n' $((SECONDS - start))
