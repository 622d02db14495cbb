#!/usr/bin/env bash
# Installs what the build needs and builds moec. Called by test/run.sh and by the samples; can be called alone.
#
#   .ci/setup.sh                  packages, then the programs (moec, moec-run) in build/bin
#   .ci/setup.sh --with-tests     also what the tests need, and the tests
#   .ci/setup.sh --packages-only  packages only (with --with-tests: those of the tests too)
#
# Environment: MOEC_BUILD_DIR (default: build), MOEC_JOBS (default: processors, as far as memory allows),
# MOEC_SKIP_PACKAGES=1 (never call apt: everything is installed in some other way).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${MOEC_BUILD_DIR:-$root/build}
case $build in /*) ;; *) build=$PWD/$build ;; esac

build_packages=(clang-22 lld-22 llvm-22-dev libmlir-22-dev mlir-22-tools llvm-22-tools liblld-22-dev zlib1g-dev libzstd-dev
  cmake ninja-build ccache libxxhash-dev nlohmann-json3-dev libcli11-dev)
test_packages=(catch2 clang-format-22 git python3 python3-numpy python3-psutil
  libopenmpi-dev openmpi-bin libmpich-dev mpich)

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

with_tests= packages_only=
for argument in "$@"; do
  case $argument in
    --with-tests) with_tests=1 ;;
    --packages-only) packages_only=1 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option '$argument'" "known: --with-tests --packages-only --help" ;;
  esac
done

#--- Packages ---------------------------------------------------------------------------------------------------------

# Prints those of the named packages that are not installed.
missing_of() {
  { dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2> /dev/null || true; } |
    awk -v wanted="$*" '$2 == "installed" { have[$1] = 1 }
      END { n = split(wanted, name, " "); for (i = 1; i <= n; ++i) if (!(name[i] in have)) print name[i] }'
}

# Fails unless the folder's file system has this many MB free.
need_space() {
  local folder=$1 megabytes=$2 what=$3 free
  free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$megabytes" ] ||
    fail "$what needs $megabytes MB in $folder, and $free MB are free" "free some space and run this again"
}

install_packages() {
  local packages=("${build_packages[@]}") missing log
  [ -z "$with_tests" ] || packages+=("${test_packages[@]}")
  command -v apt-get > /dev/null && command -v dpkg-query > /dev/null ||
    fail "this script installs packages with apt-get, and there is none here" \
      "install what these Debian packages hold: ${packages[*]}" "then run this again with MOEC_SKIP_PACKAGES=1"
  mapfile -t missing < <(missing_of "${packages[@]}")
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null ||
      fail "these packages are missing, and installing them needs root or sudo. As root, run:" \
        "apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing with apt-get (up to 2 GB on disk, 1 to 5 minutes): ${missing[*]}"
  need_space /usr 2500 "installing the packages"
  log=$(mktemp)
  # Mirrors that have nothing to do with us may be down: what counts is whether the packages can be had afterwards.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update < /dev/null > "$log" 2>&1 || true
  check_available "$log" "${missing[@]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "${missing[@]}" < /dev/null > "$log" 2>&1 ||
    { tail -n 8 "$log" >&2; fail "apt-get install failed; its last lines are above, all of it is in $log" \
        "usually the network or the disk: run this again"; }
  rm -f "$log"
}

# Fails with the likeliest reason if apt does not know one of the packages.
check_available() {
  local log=$1 unknown system
  shift
  mapfile -t unknown < <(printf '%s\n' "$@" | grep -vxF -f <(apt-cache pkgnames | sort) || true)
  [ ${#unknown[@]} -gt 0 ] || return 0
  system=$(. /etc/os-release 2> /dev/null && printf '%s' "${PRETTY_NAME:-unknown}") || system=unknown
  if grep -qE 'Could not (resolve|connect)|Temporary failure|Failed to fetch|Unable to lock|sudo:' "$log"; then
    grep -E '^(E|W|Err|sudo):' "$log" | sort -u | head -n 5 >&2
    fail "apt-get update failed (see above), and these packages are unknown without it: ${unknown[*]}" \
      "check the network, the proxy and /etc/apt/sources.list, then run this again"
  fi
  fail "apt does not know: ${unknown[*]}" \
    "they are in Debian 12 (bookworm) with its security archive (bookworm-security, component main)" \
    "this system is: $system; look at /etc/apt/sources.list and /etc/apt/sources.list.d" \
    "with LLVM and MLIR 22.1 from elsewhere: MOEC_SKIP_PACKAGES=1 and CMAKE_PREFIX_PATH"
}

[ -n "${MOEC_SKIP_PACKAGES:-}" ] || install_packages
[ -z "$packages_only" ] || { say "all packages are there"; exit 0; }

#--- Build ------------------------------------------------------------------------------------------------------------

# Value of a variable in the build folder's cache; empty when there is none.
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt" 2> /dev/null || true; }

configure() {
  local options=(-S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING="$1") log=$build/configure.log
  local clang
  if clang=$(command -v clang++-22); then
    options+=(-DCMAKE_CXX_COMPILER="$clang" -DCMAKE_C_COMPILER="$(command -v clang-22)"
      -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld)
  fi
  command -v ccache > /dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  [ -z "$(cached CMAKE_HOME_DIRECTORY)" ] || [ "$(cached CMAKE_HOME_DIRECTORY)" = "$root" ] || options+=(--fresh)
  mkdir -p "$build" || fail "cannot make the folder $build" "MOEC_BUILD_DIR names another one"
  say "configuring in $build"
  cmake "${options[@]}" > "$log" 2>&1 ||
    { grep -A 12 -m 1 'CMake Error' "$log" >&2 || tail -n 15 "$log" >&2; fail "cmake failed; all of it is in $log"; }
}

# As many compilers as processors, but each may take 1.5 GB.
jobs() {
  local processors memory
  processors=$(nproc)
  memory=$(awk '/MemAvailable/ { print int($2 / 1572864) }' /proc/meminfo)
  [ "$memory" -ge 1 ] || memory=1
  echo $((processors < memory ? processors : memory))
}

# Of lines that start with a percentage, those where the next tenth is reached.
tenths() {
  local line percent next=10
  while IFS= read -r line; do
    [[ $line =~ ^\ *([0-9]+)%\  ]] || continue
    percent=${BASH_REMATCH[1]}
    [ "$percent" -ge "$next" ] || continue
    say "  $percent% after $SECONDS s"
    next=$((percent / 10 * 10 + 10))
  done
}

testing=$(cached BUILD_TESTING)
if [ -n "$with_tests" ]; then testing=ON; else testing=${testing:-OFF}; fi
if [ ! -e "$build/build.ninja" ] || [ "$testing" != "$(cached BUILD_TESTING)" ] ||
  [ "$(cached CMAKE_HOME_DIRECTORY)" != "$root" ]; then
  need_space "$(dirname "$build")" 1000 "the build"
  configure "$testing"
fi

targets=(moec moec-run)
[ -z "$with_tests" ] || targets=(all)
# ccache refuses what uses a precompiled header unless told that its time stamps do not matter.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}
# What a file includes comes from the compiler: without this ccache preprocesses every file that it has not seen.
export CCACHE_DEPEND=1
say "building in $build (Release, ${MOEC_JOBS:=$(jobs)} at a time)"
# On a terminal ninja's one moving line; elsewhere a line for every tenth, and the rest in a file.
if [ -t 1 ]; then
  ninja -C "$build" -j "$MOEC_JOBS" "${targets[@]}" || fail "the build failed; the compiler's words are above"
else
  log=$build/build.log
  NINJA_STATUS='%p ' ninja -C "$build" -j "$MOEC_JOBS" "${targets[@]}" 2>&1 | tee "$log" | tenths ||
    { tail -n 40 "$log" >&2; fail "the build failed; its last lines are above, all of it is in $log"; }
fi
say "done: $build/bin"
