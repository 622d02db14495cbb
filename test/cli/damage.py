#!/usr/bin/env python3
"""Damaged plans and checkpoints are refused with a number, and nothing is created, overwritten or lost.

  damage.py BIN_FOLDER
"""
import pathlib
import random
import re
import shutil

from clilib import Test, fingerprint

with Test() as t:
    t.must(t.moec, "train", t.spec, "--run-dir", "run", "--threads", 2)
    plan = t.dir / "run.moec"
    whole = plan.read_bytes()
    before = fingerprint(t.dir / "run")

    def unchanged(what):
        t.check(fingerprint(t.dir / "run") == before, f"{what}: no file of the run has changed")

    # Plans.
    damaged = t.dir / "damaged.moec"
    words = random.Random(2)
    cases = {f"cut to {size}": whole[:size]
             for size in (0, 1, 8, 16, 63, 64, 65, 1000, len(whole) // 2, len(whole) - 1)}
    cases["one byte more"] = whole + b"\0"
    places = list(range(0, 64, 3)) + [words.randrange(64, len(whole)) for _ in range(60)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << words.randrange(8)
        cases[f"bit flipped at byte {place}"] = bytes(flipped)
    codes = {}
    for name, content in cases.items():
        damaged.write_bytes(content)
        for verb in (["train", "--run-dir", "new"], ["train", "--run-dir", "run", "--overwrite"],
                     ["train", "--run-dir", "run", "--resume"], ["describe"]):
            done = t.run(t.moec_run, damaged, *verb)
            code = re.search(r"MOEC-P\d{3}", done.stderr)
            if done.returncode != 3 or not code or done.stdout:
                t.check(False, f"plan {name}, {verb}: exit code 3 and MOEC-P, got {done.returncode} {done.stderr}{done.stdout}")
            elif verb[0] == "describe":
                codes[code.group()] = codes.get(code.group(), 0) + 1
    t.check(True, f"{len(cases)} damaged plans tried: {dict(sorted(codes.items()))}")
    for command in (["plan"], ["inspect"], ["train"], ["eval", "--run-dir", "run"], ["generate", "--run-dir", "run"]):
        done = t.run(t.moec, command[0], damaged, *command[1:])
        t.check(done.returncode == 3 and "MOEC-P" in done.stderr, f"moec {command[0]} of a damaged plan: exit code 3, is {done.returncode}")
    t.check(not (t.dir / "new").exists() and not (t.dir / "runs").exists(), "damaged plans create no run folder")
    unchanged("damaged plans")

    # A run folder in the way.
    for command in ([t.moec, "train", t.spec], [t.moec_run, plan, "train"]):
        done = t.run(*command, "--run-dir", "run")
        t.check(done.returncode == 2 and "MOEC-R001" in done.stderr and "--overwrite" in done.stderr,
                f"{pathlib.Path(command[0]).name}: a run folder in the way: exit code 2, is {done.returncode}")
    t.check(plan.read_bytes() == whole, "the plan beside a run folder in the way is the old one")
    unchanged("a run folder in the way")

    # Checkpoints: the newest one is damaged, step 14 is good.
    run = t.dir / "run"
    newest, older = run / "checkpoints/step-00000020", run / "checkpoints/step-00000014"
    good = t.dir / "good"
    shutil.copytree(newest, good)

    def cut(file, size):
        def damage():
            path = newest / file
            path.write_bytes(path.read_bytes()[:size])
        return damage

    def flip(file, place):
        def damage():
            raw = bytearray((newest / file).read_bytes())
            raw[place % len(raw)] ^= 1 << words.randrange(8)
            (newest / file).write_bytes(raw)
        return damage

    shard = "model-00001-of-00001.safetensors"
    size = (good / shard).stat().st_size
    cases = {"shard missing": lambda: (newest / shard).unlink(),
             "manifest missing": lambda: (newest / "manifest.json").unlink(),
             "a file too many": lambda: (newest / "extra").write_text("x")}
    for file, length in ((shard, size), ("manifest.json", (good / "manifest.json").stat().st_size)):
        # The last byte of the manifest is a newline, without which it says the same.
        for at in (0, 1, 7, 8, 100, length // 2, length - 2):
            cases[f"{file} cut to {at}"] = cut(file, at)
        for at in [0, 7, 8, 9, length - 1] + [words.randrange(length) for _ in range(12)]:
            cases[f"{file} flipped at {at}"] = flip(file, at)
    codes = {}
    for name, damage in cases.items():
        shutil.rmtree(newest)
        shutil.copytree(good, newest)
        damage()
        before = fingerprint(run)
        for verb in (["train", "--resume"], ["eval"], ["generate", "--bytes", 1]):
            done = t.run(t.moec_run, plan, *verb, "--run-dir", "run")
            fine = (done.returncode == 5 and "MOEC-C016" in done.stderr
                    and "--resume-from run/checkpoints/step-00000014" in done.stderr)
            if not fine or fingerprint(run) != before:
                t.check(False, f"checkpoint, {name}, {verb}: exit code 5 and the way out, files as before; got "
                               f"{done.returncode} {done.stderr}{done.stdout}")
            elif verb[0] == "eval":
                for code in set(re.findall(r"MOEC-C\d{3}", done.stderr)) - {"MOEC-C016"}:
                    codes[code] = codes.get(code, 0) + 1
    t.check(True, f"{len(cases)} damaged checkpoints tried: {dict(sorted(codes.items()))}")
    done = t.run(t.moec_run, plan, "train", "--run-dir", "run", "--resume-from", newest)
    t.check(done.returncode == 5, "named by --resume-from, a damaged one is refused too")
    done = t.run(t.moec_run, plan, "train", "--run-dir", "run", "--resume-from", older)
    t.check(done.returncode == 0 and "abandoned-step-00000020" in done.stdout and "this time 6" in done.stdout,
            f"the way out works: {done.stdout}{done.stderr}")
    # What was lost is back, byte for byte.
    t.check((newest / shard).read_bytes() == (good / shard).read_bytes(), "and comes to the same step 20")

    # A plan for another processor.
    flags = set(re.findall(r"^flags\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)[0].split())
    if "avx512f" in flags:
        print("skip  a plan for another processor: this one has AVX-512, the most that --target can ask for")
    else:
        t.must(t.moec, "compile", t.spec, "--target", "x86-64-v4", "-o", "v4.moec")
        done = t.run(t.moec_run, "v4.moec", "train", "--run-dir", "v4")
        t.check(done.returncode == 3 and "MOEC-P009" in done.stderr and "avx512" in done.stderr and not (t.dir / "v4").exists(),
                f"a plan for another processor: {done.stderr}")
