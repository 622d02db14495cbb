#!/usr/bin/env python3
"""What an old run keeps when a new one cannot begin, and signals at moments when no step is under way.

  keep.py BIN_FOLDER
"""
import json
import re
import signal
import subprocess
import time

from clilib import Test, fingerprint

SMALL = {"extends": "small.json", "name": "s", "model": {"num_layers": 1, "ffn": None, "moe": {"layers": {"from": 0}}},
         "duration": {"steps": 4}, "evaluate": None, "checkpoint": {"every": {"steps": 2}}}


def catches(process, number):
    """Whether the process has a handler for a signal."""
    try:
        status = open(f"/proc/{process.pid}/status").read()
    except OSError:
        return True
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16) >> (number - 1) & 1)


with Test() as t:
    spec = t.dir / "s.json"
    spec.write_text(json.dumps(SMALL))
    temporary = t.dir / "tmp"
    temporary.mkdir()

    def start(*words):
        return subprocess.Popen([str(word) for word in words], cwd=t.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={"TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"})

    # A new spec over an old run: whatever is wrong, the old run keeps its plan and all else.
    t.must(t.moec, "train", spec, "-o", "run")
    before = fingerprint(t.dir / "run") | {"plan": (t.dir / "run.moec").read_bytes()}
    for what, change, code in (("data that are not there", {"data": {"train": {"a": {"path": "gone.txt"}}}}, 4),
                               ("data that are too short", {"data": {"train": {"a": {"path": "short.txt"}}}}, 4),
                               ("a spec that is wrong", {"model": {"num_layers": 0}}, 1)):
        (t.dir / "short.txt").write_text("short")
        spec.write_text(json.dumps({**SMALL, **change}))
        for how in (["--overwrite"], ["--resume", "--allow-other-spec"]):
            done = t.run(t.moec, "train", spec, "-o", "run", *how)
            after = fingerprint(t.dir / "run") | {"plan": (t.dir / "run.moec").read_bytes()}
            t.check(done.returncode == code and after == before, f"{what}, {how[0]}: {done.returncode} {done.stderr.strip()[-200:]}")
    spec.write_text(json.dumps(SMALL))
    (t.dir / "text.moec").write_text("my own text")
    done = t.run(t.moec, "train", spec, "-o", "text")
    t.check(done.returncode == 2 and (t.dir / "text.moec").read_text() == "my own text" and not (t.dir / "text").exists(),
            f"a file of the plan's name that is no plan: {done.stderr.strip()}")

    # While it compiles: a line, exit code 7, nothing of the run has changed, no file is left.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = start(t.moec, "train", t.spec, "-o", "early")
        while not catches(process, number):
            time.sleep(0.001)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        t.check(process.returncode == 7 and "nothing to save" in err and out == "", f"{number.name} while compiling: {process.returncode} {err}")
        t.check(not list(t.dir.glob("early*")) and not list(t.dir.glob(".early*")), "nothing is left of it")

    # Between members: what is done stays, the next one has not begun.
    sweep = t.dir / "sweep.json"
    sweep.write_text(json.dumps({**SMALL, "extends": "small.json", "sweep": {"lr": {"field": "optimizer.lr", "values": [1e-3, 2e-3]}}}))
    process = start(t.moec, "train", sweep, "-o", "sweep")
    for line in process.stdout:
        if line.startswith("[2/2]"):
            process.send_signal(signal.SIGTERM)
            break
    rest, err = process.communicate(timeout=60)
    t.check(process.returncode == 7 and ("nothing to save" in err or "stopping after this step" in err),
            f"SIGTERM between members: {process.returncode} {err}")
    t.check((t.dir / "sweep/lr-0.001/checkpoints/step-00000004").exists() and not (t.dir / "sweep/lr-0.002/run.json").exists(),
            "the first member is done, the second has not begun")

    # eval and generate leave no plan behind, not even when they are killed.
    t.must(t.moec, "train", t.spec, "-o", "big", "--max-steps", 7)
    for words in (["eval"], ["generate", "--bytes", 100000], ["plan"]):
        process = start(t.moec, words[0], t.spec, *(["-o", "big"] if words[0] != "plan" else []), *words[1:])
        time.sleep(0.3)
        process.kill()
        process.communicate()
        t.check(not list(temporary.iterdir()), f"{words[0]}, killed: no temporary file")
