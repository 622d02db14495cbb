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
    action = ["-i"] if fix else ["--dry-run", "-Werror", "-ferror-limit=1"]
    problems = []
    for name in names:
        result = subprocess.run([formatter, *action, name], cwd=lintlib.root(), capture_output=True, text=True)
        if result.returncode != 0:
            lines = result.stderr.splitlines()
            where = lines[0].split(": error:")[0] if lines else name
            problems.append(f"{where}: not formatted; test/lint/check_format.py --fix does it")
    lintlib.finish(problems, len(names))


main()
