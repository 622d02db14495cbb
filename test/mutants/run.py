#!/usr/bin/env python3
"""Plants faults in the compiler and the runtime, one at a time, and says which test notices each.

  test/mutants/run.py              all faults of mutants.json, in a built tree without changes
  test/mutants/run.py NAME...      some of them
  test/mutants/run.py --check      only: does each fault still have its place in the sources?

A fault that no lit test notices is tried on the tests that its row names ("then", a ctest regex). A row with "targets"
builds only these and runs only its tests: no lit test reads that part of the tree. Exit status 1: some fault was
noticed by nobody. One fault takes half a minute to two minutes on two cores: a build and lit tests.
"""
import argparse
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("MOEC_BUILD_DIR", os.path.join(ROOT, "build"))
QUICK = ["dialects", "compiler/MoeToPlan", "compiler/Plan", "compiler/Model"]
LIT = os.environ.get("MOEC_LIT", "/usr/lib/llvm-22/bin/lit")


def place(mutant):
    """The file's text and the text with the fault. The place must be there once."""
    path = os.path.join(ROOT, mutant["file"])
    with open(path) as file:
        text = file.read()
    if text.count(mutant["from"]) != 1:
        sys.exit(f"{mutant['name']}: {mutant['file']} has {text.count(mutant['from'])} places like {mutant['from']!r}")
    return path, text, text.replace(mutant["from"], mutant["to"])


def run(*command, env=None):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **(env or {})})


def lit(folders, env):
    """Names of lit tests of the build folder that fail now; at most a few."""
    result = run(LIT, "-q", "-j2", "--max-failures=3", *[os.path.join(BUILD, "test", folder) for folder in folders], env=env)
    if result.returncode == 0:
        return []
    failed = [line.split(" :: ")[1].split()[0] for line in result.stdout.splitlines() if line.startswith("FAIL:")]
    return failed or ["that does not run: " + result.stdout[-200:]]


def noticed(mutant):
    """Who notices the fault that is in the sources now: a few words, or None."""
    # Kernels of this tree with its fault must not be taken for those without it.
    env = {"MOEC_CACHE": os.path.join(BUILD, "test", "mutant-cache")}
    # First what is quick: passes alone.
    rounds = [(["moec-opt", "moec-translate"], QUICK), ([], [""])]
    if "targets" in mutant:
        rounds = []
        if run("ninja", "-C", BUILD, *mutant["targets"]).returncode:
            return "the build"
    for targets, folders in rounds:
        if run("ninja", "-C", BUILD, *targets).returncode:
            return "the build"
        if failed := lit(folders, env):
            return "lit " + ", ".join(failed)
    if "then" in mutant:
        rest = run("ctest", "--test-dir", BUILD, "--no-tests=error", "--stop-on-failure", "-R", mutant["then"], env=env)
        if rest.returncode:
            failed = [line.split(" - ")[1].split(" (")[0] for line in rest.stdout.splitlines() if line.startswith("\t")]
            return "ctest " + ", ".join(failed)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with open(os.path.join(HERE, "mutants.json")) as file:
        mutants = json.load(file)
    for unknown in set(options.names) - {mutant["name"] for mutant in mutants}:
        parser.error(f"there is no fault {unknown!r}")
    chosen = [m for m in mutants if not options.names or m["name"] in options.names]
    for mutant in chosen:
        place(mutant)
    if options.check:
        print(f"{len(chosen)} faults have their places")
        return 0
    if run("git", "diff", "--quiet").returncode:
        sys.exit("the tree has changes; commit them first, since files are changed and put back")
    survivors = []
    for mutant in chosen:
        path, text, changed = place(mutant)
        start = time.time()
        try:
            with open(path, "w") as file:
                file.write(changed)
            by = noticed(mutant)
        finally:
            with open(path, "w") as file:
                file.write(text)
        print(f"{mutant['name']:32} {by or 'NOBODY'}  ({time.time() - start:.0f} s)", flush=True)
        if by is None:
            survivors.append(mutant["name"])
    run("ninja", "-C", BUILD, *sorted({target for m in chosen for target in m.get("targets", ["all"])}))
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults are noticed" +
          (", not " + ", ".join(survivors) if survivors else ""))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
