#!/usr/bin/env python3
"""Who may include whom. The tables below are the law; docs/style.md says why."""
import fnmatch
import os
import re

import lintlib

# Folder -> folders it may include beside itself. The first row that matches a folder counts; `*` matches within names
# and across slashes. "mlir" stands for mlir/, llvm/ and llvm-c/; "lld" for lld/.
LAYERS = [
    # The runtime knows nothing of the compiler: the plan file is all they share.
    ("runtime/base", []),
    ("runtime/kernels", ["runtime/base"]),
    ("runtime/plan", ["runtime/base"]),
    # Backends know the interface, not each other; who starts ranks knows both.
    ("runtime/comm", ["runtime/base"]),
    ("runtime/comm/*", ["runtime/base", "runtime/comm"]),
    ("runtime/hal", ["runtime/base", "runtime/comm"]),
    ("runtime/hal/*", ["runtime/base", "runtime/plan", "runtime/hal", "runtime/comm"]),
    ("runtime/io", ["runtime/base", "runtime/plan", "runtime/hal"]),
    ("runtime/exec", ["runtime/base", "runtime/plan", "runtime/hal", "runtime/hal/*", "runtime/comm"]),
    ("runtime/api", ["runtime/base", "runtime/plan", "runtime/hal", "runtime/hal/*", "runtime/io", "runtime/exec",
                     "runtime/comm", "runtime/comm/*"]),
    ("runtime/tools/*", ["runtime/api", "runtime/base"]),
    # IR below Analysis below Transforms; a dialect sees no other. Except that dist stands on moe: what ranks exchange
    # are its tensors and states, and passes of moe ask collectives through the interfaces of moe.
    ("dialects/Dist/IR", ["mlir", "dialects/Moe/IR"]),
    ("dialects/Dist/Transforms", ["mlir", "dialects/Dist/IR", "dialects/Moe/IR"]),
    ("dialects/*/IR", ["mlir"]),
    ("dialects/*/Analysis", ["mlir", "dialects/{0}/IR"]),
    ("dialects/*/Transforms", ["mlir", "dialects/{0}/IR", "dialects/{0}/Analysis"]),
    ("dialects/cmake", ["mlir"]),
    # Methods know the dialects; the model knows methods through their interface only.
    ("compiler/Methods", ["mlir", "dialects/Exp/IR", "dialects/Moe/IR", "runtime/base"]),
    ("compiler/Methods/*", ["mlir", "dialects/Exp/IR", "dialects/Moe/IR", "compiler/Methods"]),
    ("compiler/Model", ["mlir", "dialects/Exp/IR", "dialects/Moe/IR", "compiler/Methods"]),
    ("compiler/Spec", ["mlir", "dialects/Exp/IR", "runtime/base"]),
    # A conversion sees both ends, never Transforms. Kernels are emitted while dispatches become launches.
    ("compiler/Conversion/ExpToMoe", ["mlir", "dialects/Exp/IR", "dialects/Moe/IR", "compiler/Model"]),
    ("compiler/Conversion/ExpToPlan", ["mlir", "dialects/Exp/IR", "dialects/Moe/IR", "dialects/Plan/IR"]),
    ("compiler/Conversion/MoeToPlan",
     ["mlir", "dialects/Dist/IR", "dialects/Moe/IR", "dialects/Moe/Analysis", "dialects/Plan/IR", "dialects/Tile/IR",
      "compiler/Target",
      "compiler/Target/All"]),
    # A target is one folder; All alone knows them all.
    ("compiler/Target", ["mlir", "dialects/Moe/IR", "dialects/Moe/Analysis", "runtime/base"]),
    ("compiler/Target/All", ["mlir", "compiler/Target", "compiler/Target/CPU", "compiler/Target/GPU"]),
    ("compiler/Target/Kernel",
     ["mlir", "dialects/Moe/IR", "dialects/Moe/Analysis", "compiler/Target", "runtime/base"]),
    ("compiler/Target/CPU",
     ["mlir", "lld", "dialects/Moe/IR", "dialects/Moe/Analysis", "compiler/Target", "compiler/Target/Kernel", "runtime/base",
      "runtime/plan"]),
    ("compiler/Target/GPU",
     ["mlir", "dialects/Moe/IR", "dialects/Moe/Analysis", "compiler/Target", "compiler/Target/Kernel", "runtime/base"]),
    ("compiler/Target/GPU/Sm90",
     ["mlir", "dialects/Moe/IR", "dialects/Moe/Analysis", "dialects/Tile/IR", "compiler/Target", "compiler/Target/Kernel",
      "compiler/Target/GPU"]),
    ("compiler/Target/Plan",
     ["mlir", "dialects/Exp/IR", "dialects/Moe/IR", "dialects/Plan/IR", "compiler/Target", "runtime/plan",
      "runtime/base"]),
    ("compiler/Pipelines",
     ["mlir", "dialects/*", "compiler/Conversion/*", "compiler/Target"]),
    ("compiler/Driver",
     ["mlir", "dialects/*/IR", "compiler/Pipelines", "compiler/Conversion/*", "compiler/Model", "compiler/Spec",
      "compiler/Target", "compiler/Target/*",
      "runtime/plan", "runtime/base"]),
    ("compiler/tools", ["mlir", "dialects/*", "compiler/*"]),
    ("compiler/tools/*", ["mlir", "dialects/*/IR", "compiler/*", "runtime/api", "runtime/plan", "runtime/base"]),
    ("test/*", ["*"]),
]

# Third-party header -> files that may include it. Never a header of ours outside test/.
THIRD_PARTY = {
    "nlohmann/": ["runtime/base/Json.cpp", "test/*"],
    "CLI/": ["compiler/tools/*.cpp", "runtime/api/CommandLine.cpp", "runtime/tools/*.cpp"],
    "xxhash.h": ["runtime/base/Hash.cpp"],
    "mpi.h": ["runtime/comm/mpi/MpiPlugin.cpp"],
    "catch2/": ["test/*"],
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)


def target_folder(path):
    for name, prefixes in {"mlir": ("mlir/", "mlir-c/", "llvm/", "llvm-c/"), "lld": ("lld/",)}.items():
        if path.startswith(prefixes):
            return name
    return os.path.dirname(path)


def allowed_for(folder):
    """What a folder may include; None when no row names it."""
    for pattern, allowed in LAYERS:
        match = re.fullmatch(re.escape(pattern).replace(r"\*", "(.*)"), folder)
        if match:
            return [entry.format(*match.groups()) for entry in allowed]
    return None


def check_include(name, quote, path):
    folder = os.path.dirname(name)
    for header, users in THIRD_PARTY.items():
        if path.startswith(header):
            if not any(fnmatch.fnmatch(name, user) for user in users):
                return f"includes <{path}>; only these may: {', '.join(users)}"
            return None
    target = target_folder(path)
    if quote == "<" and target not in ("mlir", "lld"):
        return None  # system
    if quote == '"' and "/" not in path and not name.startswith("test/"):
        return f'includes "{path}"; paths start at the root of the repository'
    if target in (folder, ""):
        return None
    if target.startswith("test/") and not name.startswith("test/"):
        return f'includes "{path}"; nothing outside test/ includes test/'
    allowed = allowed_for(folder)
    if allowed is None:
        return f"lies in {folder}, for which test/lint/check_layers.py has no row yet"
    if any(fnmatch.fnmatch(target, pattern) for pattern in allowed):
        return None
    return f'includes "{path}"; {folder} may include only: {", ".join(allowed) or "itself"}'


def find_cycle(edges):
    """A list of folders that include each other in a ring, or None."""
    done, path = set(), []

    def visit(folder):
        if folder in path:
            return path[path.index(folder):] + [folder]
        if folder in done:
            return None
        path.append(folder)
        for target in sorted(edges.get(folder, ())):
            ring = visit(target)
            if ring:
                return ring
        path.pop()
        done.add(folder)
        return None

    for folder in sorted(edges):
        ring = visit(folder)
        if ring:
            return ring
    return None


def main():
    problems, edges = [], {}
    names = lintlib.files("*.h", "*.cpp", "*.inc")
    for name in names:
        text = lintlib.read(name)
        for match in INCLUDE.finditer(text):
            quote, path = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            problem = check_include(name, quote, path)
            if problem:
                problems.append(f"{name}:{line}: {problem}")
            if quote == '"' and "/" in path and target_folder(path) not in ("mlir", "lld", os.path.dirname(name)):
                edges.setdefault(os.path.dirname(name), set()).add(target_folder(path))
    ring = find_cycle(edges)
    if ring:
        problems.append("folders include each other in a ring: " + " -> ".join(ring))
    lintlib.finish(problems, len(names))


main()
