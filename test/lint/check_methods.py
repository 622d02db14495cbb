#!/usr/bin/env python3
"""Each method (a file in a folder of compiler/Methods) has a page in docs/methods and a spec or a test that uses it; each
page says formula, source, keys, cost and effect."""
import re

import lintlib

KIND = re.compile(r'\bkind\(\) const override\s*\{\s*return "([a-z0-9_]+)";')


def main():
    problems = []
    names = lintlib.files("compiler/Methods/*/*.cpp")
    pages = {name: lintlib.read(name) for name in lintlib.files("docs/methods/*.md")}
    users = [lintlib.read(name) for name in lintlib.files("specs/*.json", "samples/*.json", "test/*.json", "test/*.mlir",
                                                          "test/*.test", "test/*.cpp")]
    for name in names:
        kinds = KIND.findall(lintlib.read(name))
        if not kinds:
            problems.append(f'{name}: no `std::string kind() const override {{ return "..."; }}` found')
        for kind in kinds:
            # A page of its own, or a heading of a page about several.
            heading = re.compile(rf"^#+ .*\b{kind}\b", re.MULTILINE | re.IGNORECASE)
            if f"docs/methods/{kind}.md" not in pages and not any(heading.search(text) for text in pages.values()):
                problems.append(f"{name}: \"{kind}\" has no page: add docs/methods/{kind}.md, or a heading of that name")
            if not any(re.search(rf'"{kind}\\?"', text) for text in users):
                problems.append(f"{name}: \"{kind}\" is used by no spec in specs/ or samples/ and by no test")
    for page, text in pages.items():
        for part in ("formula", "source", "keys", "cost", "effect"):
            if not re.search(rf"\*\*{part}\b", text, re.IGNORECASE):
                problems.append(f"{page}: nothing in bold begins with \"{part.capitalize()}\"")
    lintlib.finish(problems, len(names))


main()
