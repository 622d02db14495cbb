#!/usr/bin/env python3
"""moec train of a sweep: every member, what is done stays done, kill -9 changes no bit, a changed spec is refused.

  sweep_train.py BIN_FOLDER
"""
import json
import re
import signal

from clilib import Test, metrics, tensors

MEMBERS = ["lr-0.003_plain", "lr-0.003_sigmoid", "lr-0.006_plain", "lr-0.006_sigmoid"]
SWEEP = {
    "extends": "small.json", "name": "four",
    "model": {"num_layers": 1, "ffn": None, "moe": {"layers": {"from": 0}, "shared_experts": 0}, "attention": {"qk_norm": "none"}},
    "losses": None, "data": {"seq_len": 32}, "batch": {"sequences": 8},
    "duration": {"steps": 12}, "evaluate": {"every": {"steps": 6}}, "checkpoint": {"every": {"steps": 4}},
    "sweep": {
        "lr": {"field": "optimizer.lr", "values": [3e-3, 6e-3]},
        "score": {"variants": {"plain": {}, "sigmoid": {"model": {"router": {"score": "sigmoid"}}}}},
    },
}

with Test() as t:
    spec = t.dir / "four.json"
    spec.write_text(json.dumps(SWEEP))

    def train(folder, *more):
        return [t.moec, "train", spec, "-o", folder, "--threads", 2, *more]

    def rows(text):
        """The table at the end: member -> the other cells."""
        table = text[text.rindex("\nmember"):].splitlines()
        return {line.split()[0]: line for line in table if line.split() and line.split()[0] in MEMBERS}

    done = t.must(*train("whole"))
    t.check("four: 4 members of the sweep lr x score into whole; 0 done, 0 to go on with, 4 new" in done.stdout, "it says what it will do")
    t.check("[2/4] lr-0.003_sigmoid: optimizer.lr = 0.003, score = sigmoid" in done.stdout, "each member is announced")
    table = rows(done.stdout)
    t.check(list(table) == MEMBERS, f"a table of all members: {list(table)}")
    t.check(all(re.search(r"trained +12/12 +\d\.\d{4} +\d\.\d{4} +\d+$", line) for line in table.values()),
            f"with steps, losses and speed: {table}")
    final = {member: tensors(t.dir / "whole" / member / "checkpoints/step-00000012") for member in MEMBERS}
    t.check(all(len(found) > 10 for found in final.values()), "each has its last checkpoint")
    t.check(len({found["embed"][2] for found in final.values()}) == 4, "the members are four different experiments")

    done = t.must(t.moec, "report", "whole", "-o", "whole.html")
    page = (t.dir / "whole.html").read_text()
    t.check("whole.html: 4 runs" in done.stdout and all(page.count(f">{member}<") >= 2 for member in MEMBERS), "a report of them")
    t.check(all(part in page for part in ("validation loss", "Load of the experts", "max violation, mean over layers",
                                          ">optimizer.lr<", "throughput", "12, done")), "with what is in real logs")
    t.check(">optimizer.schedule.kind<" not in page, "of the specs, only what differs")

    # A member is what the spec written by hand gives.
    hand = t.dir / "hand.json"
    hand.write_text(json.dumps({"extends": "four.json", "name": "hand", "sweep": None, "optimizer": {"lr": 6e-3}}))
    t.must(t.moec, "train", hand, "--run-dir", "hand", "--threads", 1)
    t.check(tensors(t.dir / "hand/checkpoints/step-00000012") == final["lr-0.006_plain"], "a spec by hand: the same bytes")

    # kill -9 while the second member trains, then to the end.
    code = t.stop_after("killed/lr-0.003_sigmoid/checkpoints/step-00000004", signal.SIGKILL, *train("killed"))
    t.check(code == -signal.SIGKILL, f"killed: {code}")
    first = t.dir / "killed/lr-0.003_plain/checkpoints/step-00000012/manifest.json"
    written = first.stat().st_mtime_ns
    done = t.must(*train("killed"))
    table = rows(done.stdout)
    t.check("was done" in table[MEMBERS[0]] and "trained" in table[MEMBERS[3]], f"done members are skipped: {table}")
    t.check(first.stat().st_mtime_ns == written, "and are not touched")
    for member in MEMBERS:
        t.check(tensors(t.dir / "killed" / member / "checkpoints/step-00000012") == final[member],
                f"{member}: the same bytes as without kills")
        t.check(metrics(t.dir / "killed" / member) == metrics(t.dir / "whole" / member), f"{member}: the same metrics")
    done = t.must(*train("killed"))
    t.check("4 done, 0 to go on with, 0 new" in done.stdout and "compiled" not in done.stderr, "nothing to do, nothing compiled")

    # Stopped before its first checkpoint: nothing to lose, so it starts again. SIGTERM: exit code 7, and it goes on.
    slow = t.dir / "late.json"
    slow.write_text(json.dumps({"extends": "four.json", "checkpoint": {"every": None}}))
    t.stop_after("late/lr-0.003_plain/run.json", signal.SIGKILL, t.moec, "train", slow, "-o", "late", "--threads", 2)
    done = t.must(t.moec, "train", slow, "-o", "late", "--threads", 2, "--member", MEMBERS[0])
    kept = t.dir / "late" / MEMBERS[0] / "abandoned-metrics.jsonl"
    t.check(not kept.exists() or "the metrics so far are kept as" in done.stdout, "what it had logged is kept, and named")
    t.check("1 to go on with" in done.stdout and
            tensors(t.dir / "late" / MEMBERS[0] / "checkpoints/step-00000012") == final[MEMBERS[0]], "killed before the first checkpoint")
    code = t.stop_after("stopped/lr-0.003_sigmoid/checkpoints/step-00000004", signal.SIGTERM, *train("stopped", "--member", MEMBERS[1]))
    t.check(code == 7, f"SIGTERM: exit code 7, is {code}")
    done = t.must(*train("stopped", "--member", MEMBERS[1]))
    t.check(tensors(t.dir / "stopped" / MEMBERS[1] / "checkpoints/step-00000012") == final[MEMBERS[1]], "SIGTERM, then on")

    # --member: only these, in the order of the sweep.
    done = t.must(*train("whole", "--member", MEMBERS[3], "--member", MEMBERS[0]))
    t.check("2 members of the sweep" in done.stdout and list(rows(done.stdout)) == [MEMBERS[0], MEMBERS[3]], "--member twice")
    done = t.run(*train("whole", "--member", "plain"))
    t.check(done.returncode == 1 and 'no member is called "plain"' in done.stderr, "a member that is not there")
    done = t.run(*train("whole", "--resume-from", "x"))
    t.check(done.returncode == 2, f"--resume-from: exit code 2, is {done.returncode}")

    done = t.must(*train("short", "--member", MEMBERS[0], "--max-steps", 2))
    t.check(re.search(r"not done +2/12", rows(done.stdout)[MEMBERS[0]]), f"--max-steps: {rows(done.stdout)}")

    # A changed member is refused before anything is trained; the message says what changed, and both cures work.
    spec.write_text(json.dumps({**SWEEP, "seed": 6}))
    done = t.run(*train("stopped"))
    t.check(done.returncode == 5 and "seed: was 5, is 6" in done.stderr and f"--overwrite --member {MEMBERS[1]}" in done.stderr,
            f"a changed spec: {done.returncode}")
    t.check(not (t.dir / "stopped" / MEMBERS[0]).exists(), "nothing was trained")
    t.must(*train("stopped", "--overwrite", "--member", MEMBERS[1]))
    t.check(tensors(t.dir / "stopped" / MEMBERS[1] / "checkpoints/step-00000012") != final[MEMBERS[1]], "--overwrite trains it anew")
    spec.write_text(json.dumps(SWEEP))
    done = t.run(*train("stopped", "--member", MEMBERS[1]))
    t.check(done.returncode == 5 and "seed: was 6, is 5" in done.stderr, "now the other way round")

    # A member that fails ends the sweep, unless it may go on.
    failing = t.dir / "failing.json"
    failing.write_text(json.dumps({**SWEEP, "name": "failing", "sweep": {
        "data": {"field": "data.train.a.path", "values": ["a.txt", "gone.txt", "b.txt"]}}}))
    done = t.run(t.moec, "train", failing)
    t.check(done.returncode == 4 and re.search(r"data-gone.txt +failed \(4\): data missing or unfit ", done.stdout) and
            re.search(r"data-b.txt +not trained", done.stdout), f"it stops at the failing one: {done.stdout[-600:]}")
    done = t.run(t.moec, "train", failing, "--keep-going", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    states = {line["member"]: line["state"] for line in lines if "member" in line}
    t.check(done.returncode == 4 and states == {"data-a.txt": "was done", "data-gone.txt": "failed (4): data missing or unfit", "data-b.txt": "trained"},
            f"--keep-going: {done.returncode} {states}")
    t.check((t.dir / "runs/failing/data-b.txt/checkpoints/step-00000012").exists(), "into runs/<name>/<member>")
    done = t.must(t.moec, "eval", failing, "--member", "data-b.txt")
    t.check("step 12  loss" in done.stdout, "where eval finds it")
