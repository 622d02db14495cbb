#!/bin/bash
# Makes a small corpus of three domains from Debian packages: English prose, C++ headers, German prose (much of it the same books as the English).
#
#   ./make_corpus.sh [DIR]      default: corpus, beside this script
#
# Writes DIR/{prose,code,german}.{train,valid}.txt and DIR/sources.txt. Needs a Debian with network; packages are unpacked, not installed,
# so no root is needed once apt has package lists (as root the lists are fetched when they are missing). Does nothing if DIR is complete.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/corpus}
prose=(fortunes debian-reference-en developers-reference debian-faq maint-guide)
german=(fortunes-de debian-reference-de developers-reference-de debian-faq-de maint-guide-de)

say() { printf '%s\n' "$*"; }
fail() { printf 'make_corpus: %s\n' "$*" >&2; exit 1; }

complete() {
  local domain split
  for domain in prose code german; do
    for split in train valid; do [ -s "$out/$domain.$split.txt" ] || return 1; done
  done
}

sizes() {
  local file
  for file in "$out"/*.train.txt "$out"/*.valid.txt; do printf '%10d  %s\n' "$(stat -c %s "$file")" "$file"; done
}

if complete; then
  say "the corpus is there already:"
  sizes
  exit 0
fi

for tool in apt-get apt-cache dpkg-deb awk gzip; do
  command -v "$tool" > /dev/null || fail "'$tool' is missing; this script needs a Debian system"
done
mkdir -p "$out" || fail "cannot write to $out"
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

apt=(apt-get -qq)
[ "$(id -u)" -ne 0 ] || apt+=(-o APT::Sandbox::User=root)
list_names() { apt-cache pkgnames | sort > "$work/names"; }
known() { grep -qx -F -- "$1" "$work/names"; }

list_names
if ! known debian-faq; then
  [ "$(id -u)" -eq 0 ] || fail "apt has no package lists; run 'apt-get update' as root first"
  say "apt has no package lists yet: fetching them"
  "${apt[@]}" update || fail "apt-get update failed; is there a network, and an entry for 'main' in the sources of apt?"
  list_names
fi

# Downloads the named packages, as far as this Debian has them.
download() {
  local package wanted=()
  for package in "$@"; do
    if known "$package"; then wanted+=("$package"); else say "  $package: not in this Debian, left out"; fi
  done
  [ ${#wanted[@]} -gt 0 ] || fail "none of these packages is in this Debian: $*"
  (cd "$work" && "${apt[@]}" download "${wanted[@]}") || fail "downloading failed; is there a network? (as root, 'apt-get update' may help)"
}

# Unpacks a downloaded package into $work/PACKAGE; returns 1 when it was left out.
unpack() {
  local package=$1 files
  files=("$work/${package}"_*.deb)
  [ -e "${files[0]}" ] || return 1
  dpkg-deb -x "${files[0]}" "$work/$package" || fail "cannot unpack $package"
  note "$package $(dpkg-deb -f "${files[0]}" Version)"
}

# Says which source is used, and remembers it in sources.txt.
note() { say "  $*"; say "$*" >> "$work/sources.txt"; }

# Plain text of an unpacked package, its files in order of name: fortunes (without drawings and indexes) or the book as text. A package that
# holds the same book twice gives it once. Layout is taken off: indentation, runs of blanks, ruled lines, and the "%" between fortunes.
text_of() {
  local root=$work/$1
  {
    find "$root/usr/share/games" -type f ! -name '*.dat' ! -name '*ascii*' ! -name translate-me 2> /dev/null | sort |
      while read -r file; do cat "$file"; printf '\n'; done || true
    find "$root/usr/share" -type f -name '*.txt.gz' -size +10k ! -name changelog.txt.gz 2> /dev/null | sort |
      while read -r file; do printf '%s %s\n' "$(gzip -dc "$file" | cksum | tr ' ' -)" "$file"; done |
      awk '!seen[$1]++ {print $2}' |
      while read -r file; do gzip -dc "$file"; printf '\n'; done || true
  } | iconv -c -f UTF-8 -t UTF-8 | tr -d '\r\f\b' |
    sed -e 's/^%$//' -e 's/^[ \t]*//' -e 's/[ \t]*$//' -e 's/[ \t][ \t]*/ /g' -e 's/[-=_.*~]\{5,\}/---/g' | cat -s
}

# Splits the files that standard input names: each is cut at empty lines into blocks of 16 KB or a little more (a shorter file is one block), and
# of 20 blocks one is held out whole. So validation covers the whole domain, and its text is not in the training file.
split() {
  local domain=$1
  awk -v train="$work/$domain.train.txt" -v valid="$work/$domain.valid.txt" '
    function flush() { if (size) printf "%s", block > (count++ % 20 == 10 ? valid : train); block = ""; size = 0 }
    {
      while ((getline line < $0) > 0) {
        block = block line "\n"
        size += length(line) + 1
        if (line == "" && size >= 16384) flush()
      }
      close($0)
      flush()
    }'
  [ -s "$work/$domain.train.txt" ] && [ -s "$work/$domain.valid.txt" ] || fail "found too little text for '$domain'; which packages were left out?"
}

for domain in prose german; do
  say "$domain:"
  declare -n packages=$domain
  download "${packages[@]}"
  for package in "${packages[@]}"; do
    if unpack "$package"; then
      text_of "$package" > "$work/$domain.$package.txt"
      say "$work/$domain.$package.txt" >> "$work/$domain.files"
    fi
  done
  split "$domain" < "$work/$domain.files"
done

say "code:"
newest() { sort -V | tail -n 1; }
headers=$(find /usr/include/c++ -mindepth 1 -maxdepth 1 -type d 2> /dev/null | newest || true)
if [ -n "$headers" ]; then
  note "$headers (of this machine)"
else
  package=$({ grep -x 'libstdc++-[0-9]*-dev' "$work/names" || true; } | newest)
  [ -n "$package" ] || fail "no C++ headers in /usr/include/c++, and no libstdc++-*-dev among apt's packages"
  download "$package"
  unpack "$package"
  headers=$(find "$work/$package/usr/include/c++" -mindepth 1 -maxdepth 1 -type d | newest)
fi
find "$headers" "$headers/bits" -maxdepth 1 -type f | sort | split code

mv "$work"/*.train.txt "$work"/*.valid.txt "$work/sources.txt" "$out/"
say "done:"
sizes
