#!/usr/bin/env python3
"""Runs the conformance suite of the communicator under a real mpirun.

  mpi.py PROGRAM PLUGINS good openmpi 2 [--chunk BYTES]    all cases on 2 ranks
  mpi.py PROGRAM PLUGINS faults openmpi [NAME...]          each fault ends a job of 2 ranks, with its words
  mpi.py PROGRAM PLUGINS rings openmpi                     after a rank was killed, rings tell which one
  mpi.py PROGRAM PLUGINS pairs                             an MPI under the launcher of another

Exit status 77: this MPI's mpirun is not installed.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

PROGRAM, PLUGINS, WHAT, *REST = sys.argv[1:]
LIMIT = 30  # seconds; what hangs fails


def launcher(mpi, ranks):
    """Words of the command line before the program. More ranks than processors and root are matters of the test."""
    if mpi == "openmpi":
        names = ["mpirun.openmpi", "mpirun"]
        options = ["--oversubscribe"] + (["--allow-run-as-root"] if os.geteuid() == 0 else [])
    else:
        names, options = ["mpirun.mpich", "mpiexec.hydra", "mpirun"], []
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        print(f"no mpirun of {mpi} here ({', '.join(names)})")
        sys.exit(77)
    return [found, *options, "-n", str(ranks)]


def run(mpi, ranks, *arguments, **variables):
    """(exit status or None when it hangs, output, seconds)"""
    command = [*launcher(mpi, ranks), PROGRAM, "--plugins", PLUGINS, *arguments]
    start = time.time()
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, errors="replace", timeout=LIMIT, env={**os.environ, **variables})
        return result.returncode, result.stdout, time.time() - start
    except subprocess.TimeoutExpired as hang:
        return None, (hang.stdout or b"").decode(errors="replace"), LIMIT


def complain(title, status, output):
    print(f"{title}: exit status {'none, it hangs' if status is None else status}; output:")
    print("  " + output.strip().replace("\n", "\n  "))
    return 1


def good(mpi, ranks, *arguments):
    status, output, seconds = run(mpi, int(ranks), *arguments)
    if status != 0 or f"cases on {ranks} ranks" not in output:
        return complain(f"{mpi}, {ranks} ranks", status, output)
    print(f"{output.strip()} ({seconds:.1f} s)")
    return 0


def faults(mpi, *names):
    listed = subprocess.run([PROGRAM, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    cases = {name: words for name, *words in (line.split("\t") for line in listed.splitlines())}
    failed = 0
    for name in names or cases:
        status, output, seconds = run(mpi, 2, "--fault", name)
        lost = [words for words in cases[name] if words not in output]
        if status in (0, None) or lost or "NOT NOTICED" in output or "MOEC-X999" in output:
            failed |= complain(f"{mpi}, {name}" + "".join(f"\n  nobody said: {words}" for words in lost), status, output)
        else:
            print(f"{mpi}, {name}: ended after {seconds:.1f} s")
    return failed


def pairs():
    """Every rank would be rank 0 of 1, and "succeed" alone."""
    failed = 0
    for started, opened in ("openmpi", "mpich"), ("mpich", "openmpi"):
        status, output, _ = run(started, 2, MOEC_MPI=opened)
        words = [f"the launcher ({started}) that it is rank 1 of 2", "says that this process is rank 0 of 1", "MOEC-N009"]
        if status in (0, None) or any(word not in output for word in words):
            failed |= complain(f"{opened} under {started}'s mpirun", status, output)
        else:
            print(f"{opened} under {started}'s mpirun: refused")
    return failed


def rings(mpi):
    with tempfile.TemporaryDirectory() as folder:
        status, output, _ = run(mpi, 2, "--fault", "killed_rank", MOEC_RING_DIR=folder)
        told = subprocess.run([PROGRAM, "--diagnose", folder], stdout=subprocess.PIPE, text=True).stdout
    words = ('rank 0 is stuck in barrier of "signalled" (instruction 20), operation 1 of group 0 (2 ranks from rank 0), '
             "and rank 1 has not come to it")
    if status in (0, None) or words not in told:
        return complain(f"{mpi}, killed rank: rings say\n{told}", status, output)
    print(told.strip())
    return 0


sys.exit({"good": good, "faults": faults, "pairs": pairs, "rings": rings}[WHAT](*REST))
