#!/usr/bin/env python3
"""Sizes of files and lines, ASCII in code, names of header guards."""
import re

import lintlib

MAX_LINES = {".h": 250, ".cpp": 600, ".td": 600, "README.md": 200}
MAX_COLUMNS = 120  # of C++, TableGen and Markdown
CODE = ("*.h", "*.cpp", "*.td", "*.mlir", "*.test", "*.py", "*.sh", "*.cmake", "*CMakeLists.txt", ".ci/*")


def guard_of(name):
    return "MOEC_" + re.sub(r"[/.]", "_", name).upper()


def long_lines(name, lines):
    """Numbers of the lines beyond MAX_COLUMNS that could be shorter."""
    fenced = False
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        if len(line) <= MAX_COLUMNS:
            continue
        if name.endswith(".md"):
            # Rows of tables and what stands between ``` cannot wrap, nor can a link or another word that fills a line.
            text = re.sub(r"^\s*([-*]|\d+\.|>)?\s*", "", line)
            if fenced or line.lstrip().startswith("|") or " " not in text:
                continue
        if 'R"' in line and name.endswith((".h", ".cpp")):
            continue  # the text of a raw string may have to stay on one line
        yield number


def check(name):
    lines = lintlib.read(name).split("\n")
    if lines[-1] == "":
        lines.pop()
    for suffix, limit in MAX_LINES.items():
        if name.endswith(suffix) and len(lines) > limit:
            yield f"{name}:{len(lines)}: has {len(lines)} lines; at most {limit}, so that it can be read in one go"
    if name.endswith((".h", ".cpp", ".td", ".md")):
        for number in long_lines(name, lines):
            yield f"{name}:{number}: {len(lines[number - 1])} columns; at most {MAX_COLUMNS}"
    if name.endswith(".md"):
        return
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            yield f"{name}:{number}: a character that is not ASCII: {ascii(line.strip())}"
        if "\t" in line and name.endswith((".h", ".cpp", ".td", ".py")):
            yield f"{name}:{number}: a tab"
    if name.endswith(".h") and f"#ifndef {guard_of(name)}" not in lines:
        yield f"{name}:1: the header guard should be {guard_of(name)}"


def main():
    names = lintlib.files(*CODE, "*.md")
    lintlib.finish([problem for name in names for problem in check(name)], len(names))


main()
