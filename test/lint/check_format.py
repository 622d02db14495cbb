#!/usr/bin/env python3
"""C++ is as clang-format-22 leaves it. `test/lint/check_format.py --fix` formats in place."""
import shutil
import subprocess
import sys

import lintlib


def main():
    fix = "--fix" in sys.argv
    if fix:
        sys.argv.remove("--fix")
    # Versions differ in what they do, so no other will do.
    formatter = shutil.which("clang-format-22") or shutil.which("/usr/lib/llvm-22/bin/clang-format")
    if not formatter:
        print("check_format.py: skipped: clang-format-22 is not installed (apt-get install clang-format-22)")
        sys.exit(lintlib.SKIP)
    names = lintlib.files("*.h", "*.cpp")
    # All files in one process: to start it takes longer than to format a file.
    action = ["-i"] if fix else ["--dry-run", "-Werror"]
    result = subprocess.run([formatter, *action, *names], cwd=lintlib.root(), capture_output=True, text=True)
    places = {}  # of the first line of each file that would change
    for line in result.stderr.splitlines():
        where, separator, _ = line.partition(": error:")
        if separator:
            places.setdefault(where.rsplit(":", 2)[0], where)
    problems = [f"{where}: not formatted; test/lint/check_format.py --fix does it" for where in places.values()]
    if result.returncode != 0 and not problems:
        problems = [f"{formatter}: {result.stderr.strip()}"]
    lintlib.finish(problems, len(names))


main()
