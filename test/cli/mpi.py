#!/usr/bin/env python3
"""Training as processes under a real mpirun (docs/parallel.md): the bits of threads; a rank that is killed; the wrong number
of processes; resuming on threads.

  mpi.py BIN_FOLDER

Exit status 77: there is no mpirun of Open MPI, or moec was built without it.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from clilib import Test, tensors

MPIRUN = shutil.which("mpirun.openmpi") or shutil.which("mpirun")
if not MPIRUN or not list(pathlib.Path(sys.argv[1]).resolve().parent.glob("lib/moec/*openmpi*")):
    print("no Open MPI here")
    sys.exit(77)

SPEC = {
    "moec": 1, "name": "m", "seed": 3,
    "model": {"hidden_size": 32, "num_layers": 2, "attention": {"num_heads": 2},
              "moe": {"num_experts": 4, "top_k": 2, "expert": {"inner_size": 32}}},
    "losses": {"router_z": {"weight": 0.001}},
    "optimizer": {"kind": "adamw", "lr": 3e-3},
    "data": {"seq_len": 32, "train": {"a": {"path": "a.txt"}}},
    "batch": {"sequences": 8, "micro_sequences": 2},
    "duration": {"steps": 12},
    "precision": {"reduce": "ordered"},
    "checkpoint": {"every": {"steps": 4}, "keep_last": 9},
}

with Test() as t:
    def spec(name, **changes):
        (t.dir / f"{name}.json").write_text(json.dumps(SPEC | changes))
        return f"{name}.json"

    def command(ranks, *words):
        options = ["--oversubscribe"] + (["--allow-run-as-root"] if os.geteuid() == 0 else [])
        return [MPIRUN, *options, "-n", str(ranks), t.moec, *map(str, words)]

    def mpirun(ranks, *words):
        return subprocess.run(command(ranks, *words), cwd=t.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120)

    def state(run):
        return tensors(t.dir / run / "checkpoints/step-00000012")

    layouts = {"data": {"data": 4}, "both": {"data": 2, "experts": {"expert": 2}}}
    for name, layout in layouts.items():
        file = spec(name, parallel=layout)
        t.must(t.moec, "train", file, "--run-dir", f"{name}-threads", "--threads", "1")
        done = mpirun(4, "train", file, "--run-dir", f"{name}-mpi", "--threads", "1")
        t.check(done.returncode == 0 and done.stdout.count("12 steps done") == 1,
                f"{name}: four processes train, and one of them says so")
        t.check(state(f"{name}-mpi") == state(f"{name}-threads"), f"{name}: processes make the bits of threads")
    t.must(t.moec, "train", spec("one"), "--run-dir", "one", "--threads", "1")
    t.check(state("data-mpi") == state("one"), "four processes make the bits of one rank")

    wrong = mpirun(2, "train", "data.json", "--run-dir", "wrong", "--threads", "1")
    t.check(wrong.returncode != 0 and "MOEC-N003" in wrong.stdout and "4 ranks" in wrong.stdout
            and not (t.dir / "wrong/checkpoints").exists(), "two processes for a plan of four ranks are an error")

    # A rank that is killed ends the job at once; nothing of what was saved is lost.
    long = spec("long", parallel={"data": 4}, duration={"steps": 4000})
    job = subprocess.Popen(command(4, "train", long, "--run-dir", "killed", "--threads", "1"), cwd=t.dir,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved = t.dir / "killed/checkpoints/step-00000008"
    limit = time.time() + 60
    while not saved.exists() and job.poll() is None and time.time() < limit:
        time.sleep(0.05)
    ranks = subprocess.run(["pgrep", "-f", "moec train long.json"], stdout=subprocess.PIPE, text=True).stdout.split()
    others = [int(pid) for pid in ranks if int(pid) != job.pid]
    killed = time.time()
    os.kill(others[-1], signal.SIGKILL)
    try:
        code = job.wait(timeout=30)
    except subprocess.TimeoutExpired:
        job.kill()
        code = 0
    t.check(code != 0 and time.time() - killed < 20, f"the job ends {time.time() - killed:.1f} s after a rank was killed")
    short = spec("long", parallel={"data": 2}, duration={"steps": 4000})
    resumed = t.run(t.moec, "train", short, "--run-dir", "killed", "--resume", "--max-steps", "4", "--threads", "1")
    t.check(resumed.returncode == 0, "and a run goes on from its last checkpoint, on two threads")
