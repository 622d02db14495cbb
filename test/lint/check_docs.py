#!/usr/bin/env python3
"""Links in Markdown lead somewhere, passes are described, phases are in docs/architecture.md, no paths of one machine."""
import os
import re

import lintlib

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PASS = re.compile(r"\bdef (\w+)\s*:\s*Pass<(.*?)(?=\ndef |\Z)", re.DOTALL)
DESCRIPTION = re.compile(r"let description = \[\{(.*?)\}\]", re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|work|root)/\w+")


def anchor(heading):
    """The anchor that a heading gets on GitHub."""
    text = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(name):
    return {anchor(h) for h in re.findall(r"^#+ (.*)$", FENCE.sub("", lintlib.read(name)), re.MULTILINE)}


def check_links(name):
    text = FENCE.sub(lambda match: "\n" * match.group().count("\n"), lintlib.read(name))
    for match in LINK.finditer(text):
        link = match.group(1)
        if re.match(r"[a-z]+:", link):
            continue
        line = text.count("\n", 0, match.start()) + 1
        path, _, part = link.partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
        if not os.path.exists(os.path.join(lintlib.root(), target)):
            yield f"{name}:{line}: the link leads nowhere: {link}"
        elif part and target.endswith(".md") and part not in anchors(target):
            yield f"{name}:{line}: {target} has no heading #{part}"


def check_passes(name):
    for match in PASS.finditer(lintlib.read(name)):
        found = DESCRIPTION.search(match.group(2))
        text = re.sub(r"```.*?```", "", found.group(1), flags=re.DOTALL) if found else ""
        sentences = len(re.findall(r"[.:](?=\s|$)", text))
        if sentences < 2:
            yield f"{name}: the description of {match.group(1)} has {sentences} sentence(s); say what holds before and after"


def check_phases():
    source, page = "compiler/Pipelines/Phases.cpp", "docs/architecture.md"
    if not lintlib.files(source):
        return
    body = re.search(r"Phase table\[\] = \{(.*?)\n\};", lintlib.read(source), re.DOTALL)
    phases = re.findall(r'^\s*\{"([\w-]+)"', body.group(1), re.MULTILINE) if body else []
    if not phases:
        yield f"{source}: no phase found in `table`; mend test/lint/check_docs.py"
    text = lintlib.read(page)
    for phase in phases:
        if not re.search(rf"^\| `{phase}` \|", text, re.MULTILINE):
            yield f"{page}: the phase `{phase}` has no row in a table (| `{phase}` | ... |)"


def main():
    pages, passes = lintlib.files("*.md"), lintlib.files("*Passes.td")
    problems = [p for name in pages for p in check_links(name)]
    problems += [p for name in passes for p in check_passes(name)]
    problems += check_phases()
    for name in lintlib.files("*.md", "*.json", "*.txt", "*.sh", "*.h", "*.cpp", "*.py", ".ci/*"):
        for number, line in enumerate(lintlib.read(name).split("\n"), 1):
            if MACHINE_PATH.search(line):
                problems.append(f"{name}:{number}: a path of one machine: {MACHINE_PATH.search(line).group()}")
    lintlib.finish(problems, len(pages) + len(passes))


main()
