#!/usr/bin/env bash
# Trains every member of sweep.json and experts.json, one after another, writes a report of each and checks what the methods
# are said to do. A second run goes on where the first was stopped.
#
#   samples/06-compare-routers/run.sh [OPTION...]     options go to `moec train`, for example: --threads 1
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
moec train experts.json -o runs-experts "$@"
moec report runs-experts -o report-experts.html
python3 check.py runs runs-experts

printf '\nDone in %d s. runs/ and runs-experts/ have a folder for each member, report.html and report-experts.html show them side by side.\n' $((SECONDS - start))
