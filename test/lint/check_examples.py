#!/usr/bin/env python3
"""Every example of IR in pages and op descriptions parses and verifies: check_examples.py TREE MOEC_OPT.

An example is a block between ```mlir and ```. One with "..." in it is a fragment and is left alone. What stands after a
line `// becomes` is an example of its own. An example may use values, states and functions that it does not define: it
is then put into a function whose arguments they are, and what moec-opt misses is declared, until nothing is missing. A
mesh that it misses is declared as two ranks along its axis.
"""
import re
import subprocess
import sys

import lintlib

FENCE = re.compile(r"^( *)```mlir\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
ERROR = re.compile(r"^<stdin>:(\d+):(\d+): error: (.*)$", re.MULTILINE)
MISTYPED = re.compile(r"use of value '(%[^']+)' expects different type than prior uses: '(.*)' vs 'none'")
UNDECLARED = "use of undeclared SSA value name"
NOT_A_STATE = re.compile(r"refers to (@\S+), which is not a state")
NOT_A_FUNCTION = re.compile(r"names (@\S+), which is not a plan.func")
NO_MESH = {"needs a dist.mesh @mesh": "dist", "expected axes of the plan.mesh": "plan"}
AXIS = re.compile(r'(?:along|coordinate) \[("\w+")')
TENSOR = re.compile(r": (tensor<(?:[^<>]|<[^<>]*>)*>)")  # an encoding may have < and > of its own


class Example:
    def __init__(self, place, line, text):
        self.place, self.line, self.text = place, line, text
        self.values, self.declared, self.fault = {}, [], None

    def head(self):
        lines = list(self.declared)
        if self.values:
            lines.append("func.func @example(" + ", ".join(f"{n}: {t}" for n, t in self.values.items()) + ") {")
        return lines

    def source(self):
        return self.head() + self.text + (["return", "}"] if self.values else [])

    def learn(self, line, column, message):
        """Declares what the error at a line of `source` misses; false when the error is a fault of the example."""
        text = self.source()[line]
        mistyped, state, function = (p.search(message) for p in (MISTYPED, NOT_A_STATE, NOT_A_FUNCTION))
        if message == UNDECLARED:
            self.values.setdefault(re.match(r"%[\w$.-]+", text[column - 1:]).group(), "none")
        elif mistyped:
            self.values[mistyped.group(1)] = mistyped.group(2)
        elif any(words in message for words in NO_MESH) and not any(".mesh" in line for line in self.declared):
            dialect = next(dialect for words, dialect in NO_MESH.items() if words in message)
            axis = AXIS.search("\n".join(self.text))
            self.declared.append(f"{dialect}.mesh @mesh [{axis.group(1)}] sizes [2]")
        elif state and TENSOR.search(text):
            runs = re.search(r"\] of (\d+)", text)
            copies = f" count {runs.group(1) if runs else 64}" if state.group(1) + "[" in text else ""
            shape = TENSOR.findall(text)[-1]
            self.declared.append(f"moe.state {state.group(1)} output : {shape}{copies}")
        elif function:
            self.declared.append(f"plan.func {function.group(1)} {{}}")
        else:
            return False
        return True


def examples(name):
    """The whole examples of a file, and how many fragments there are."""
    text, found, fragments = lintlib.read(name), [], 0
    for match in FENCE.finditer(text):
        first = text.count("\n", 0, match.start()) + 2
        if "..." in match.group(2):
            fragments += 1
            continue
        part, start = [], first
        for number, line in enumerate(match.group(2).split("\n"), first):
            if line.strip() == "// becomes":
                found.append(Example(name, start, part))
                part, start = [], number + 1
            else:
                part.append(line)
        found.append(Example(name, start, part))
    return found, fragments


def parse(moec_opt, wanted):
    """One run over all examples; returns those about which something was learnt."""
    lines, owner = [], []
    for example in wanted:
        source = example.source()
        lines += source + ["// -----"]
        owner += [(example, i) for i in range(len(source))] + [(example, None)]
    result = subprocess.run([moec_opt, "-split-input-file", "-o", "/dev/null", "-"], input="\n".join(lines), text=True,
                            capture_output=True)
    learnt = {}
    for match in ERROR.finditer(result.stderr):
        example, line = owner[min(int(match.group(1)), len(owner)) - 1]
        if example in learnt:
            continue
        learnt[example] = line is not None and example.learn(line, int(match.group(2)), match.group(3))
        if not learnt[example]:
            at = example.line + max(0, (line or 0) - len(example.head()))
            example.fault = f"{example.place}:{at}: an example of IR that does not hold: {match.group(3)}"
    if result.returncode and not learnt:
        sys.exit(f"check_examples.py: moec-opt failed without an error that can be placed:\n{result.stderr}")
    return [example for example, more in learnt.items() if more]


def main():
    found, fragments = [], 0
    for name in lintlib.files("*.md", "*.td"):
        whole, parts = examples(name)
        found += whole
        fragments += parts
    todo = found
    for _ in range(64):
        if not todo:
            break
        todo = parse(sys.argv[2], todo)
    for example in todo:
        example.fault = f"{example.place}:{example.line}: this example misses too much"
    print(f"check_examples.py: {fragments} fragments (with ...) left alone")
    lintlib.finish([example.fault for example in found if example.fault], len(found))


main()
