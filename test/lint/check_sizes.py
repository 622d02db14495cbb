#!/usr/bin/env python3
"""Sizes of files and lines, ASCII in code, names of header guards."""
import re

import lintlib

MAX_LINES = {".h": 250, ".cpp": 600, ".td": 600, "README.md": 200}
MAX_COLUMNS = 120  # C++ only
CODE = ("*.h", "*.cpp", "*.td", "*.mlir", "*.test", "*.py", "*.sh", "*.cmake", "*CMakeLists.txt", ".ci/*")


def guard_of(name):
    return "MOEC_" + re.sub(r"[/.]", "_", name).upper()


def check(name):
    lines = lintlib.read(name).split("\n")
    if lines[-1] == "":
        lines.pop()
    for suffix, limit in MAX_LINES.items():
        if name.endswith(suffix) and len(lines) > limit:
            yield f"{name}:{len(lines)}: has {len(lines)} lines; at most {limit}, so that it can be read in one go"
    if name.endswith(".md"):
        return
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            yield f"{name}:{number}: a character that is not ASCII: {ascii(line.strip())}"
        # The text of a raw string may have to stay on one line.
        if name.endswith((".h", ".cpp")) and len(line) > MAX_COLUMNS and 'R"' not in line:
            yield f"{name}:{number}: {len(line)} columns; at most {MAX_COLUMNS}"
        if "\t" in line and name.endswith((".h", ".cpp", ".td", ".py")):
            yield f"{name}:{number}: a tab"
    if name.endswith(".h") and f"#ifndef {guard_of(name)}" not in lines:
        yield f"{name}:1: the header guard should be {guard_of(name)}"


def main():
    names = lintlib.files(*CODE, "*README.md")
    lintlib.finish([problem for name in names for problem in check(name)], len(names))


main()
