#!/usr/bin/env python3
"""One spec on 1, 2, 4 and 8 ranks (docs/parallel.md): the same bits where "reduce" is "ordered", the same numbers where it
is "fast"; stop and resume on another number of ranks; data that end in mid-run; eval and generate.

  ranks.py BIN_FOLDER
"""
import json
import os
import signal
import subprocess
import time

from clilib import Test, metrics, tensors

SPEC = {
    "moec": 1, "name": "r", "seed": 3,
    "model": {"hidden_size": 32, "num_layers": 2, "attention": {"num_heads": 2}, "ffn": {"inner_size": 32},
              "moe": {"layers": {"from": 1}, "num_experts": 4, "top_k": 2, "expert": {"inner_size": 32}, "shared_experts": 1},
              "router": {"score": "sigmoid", "balance": {"kind": "bias", "rate": 0.01}}},
    "losses": {"router_z": {"weight": 0.001}},
    "optimizer": {"kind": "adamw", "lr": 3e-3, "clip_norm": 0.5},
    "data": {"seq_len": 32, "train": {"a": {"path": "a.txt"}, "b": {"path": "b.txt", "weight": 0.5}},
             "validation": {"b": {"path": "b.txt"}}},
    "batch": {"sequences": 8, "micro_sequences": 1},
    "duration": {"steps": 5},
    "evaluate": {"every": {"steps": 5}, "batches": 1},
    "checkpoint": {"every": {"steps": 2}, "keep_last": 9},
    "metrics": {"every": {"steps": 1}},
}


def merge(base, changes):
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: merge(base.get(key), value) for key, value in changes.items()}


with Test() as t:
    def write(name, ranks, changes):
        (t.dir / f"{name}.json").write_text(json.dumps(merge(SPEC, changes | {"parallel": {"data": ranks}})))
        return f"{name}.json"

    def train(run, ranks, changes, *more):
        return t.must(t.moec, "train", write(run, ranks, changes), "--run-dir", run, "--threads", 1, *more)

    def state(run, step=5):
        return tensors(t.dir / run / f"checkpoints/step-{step:08}")

    def losses(run):
        return [float(line["loss"]) for line in metrics(t.dir / run) if line["split"] == "train"]

    def same(one, other, what, step=5):
        first, second = state(one, step), state(other, step)
        differ = [name for name in first if first[name] != second.get(name)]
        t.check(len(first) > 20 and first.keys() == second.keys() and not differ,
                f"{what}: the {len(first)} tensors of step {step} have the same bytes {differ}")
        t.check(metrics(t.dir / one) == metrics(t.dir / other), f"{what}: the same lines of metrics, to the last digit")

    f64 = {"precision": {"compute": "f64", "reduce": "ordered"}}
    f32 = {"precision": {"compute": "f32", "reduce": "ordered"}}
    bf16 = {"precision": {"compute": "bf16", "gradients": "bf16", "reduce": "ordered"}}
    noise = {"model": {"router": {"jitter": 0.1},
                       "moe": {"capacity": {"factor": 1.0, "drop": "random2"}}}}
    # Of 8 micro-batches (with noise that differs from one to the next), of 4, and of 16. One run has no end of its own.
    endless = {"duration": {"steps": 100000}, "evaluate": None, "batch": {"micro_sequences": 2},
               "losses": {"load_balance": {"weight": 0.01}}}
    for name, changes, layouts, last in (("f64", merge(f64, noise), (2, 4, 8), 5), ("f32", merge(f32, endless), (2, 4), 4),
                                         ("bf16", merge(bf16, {"batch": {"sequences": 16}}), (8,), 5)):
        train(f"{name}-1", 1, changes, "--max-steps", last)
        for ranks in layouts:
            train(f"{name}-{ranks}", ranks, changes, "--max-steps", last)
            same(f"{name}-1", f"{name}-{ranks}", f"{name}, {ranks} ranks", last)
    # What docs/parallel.md says cannot be divided over ranks of experts yet.
    for changes in ({"model": {"router": {"balance": "bip"}}}, {"model": {"router": {"balance": "quantile"}}},
                    {"model": {"router": {"balance": "sinkhorn"}}},
                    {"model": {"router": {"kind": "expert_choice", "score": "softmax", "balance": None}}},
                    {"model": {"moe": {"capacity": {"factor": 1.0}}}}, {"model": {"moe": {"zero_experts": 1}}},
                    {"model": {"multi_token": {"depth": 1}}}, {"losses": {"erc": {"weight": 0.01}}},
                    {"losses": {"specialization": {"weight": 0.01}}}, {"optimizer": {"kind": "soap", "clip_norm": None}}):
        divided = merge({"batch": {"micro_sequences": 2}, "losses": {"router_z": None}}, changes)
        spec = merge(SPEC, divided | {"parallel": {"experts": {"expert": 2}}})
        (t.dir / "refused.json").write_text(json.dumps(spec))
        checked = t.run(t.moec, "check", "refused.json")
        t.check(checked.returncode == 1 and "MOEC-S084" in checked.stderr, f"refused: {changes}: {checked.stderr[:200]}")
    t.check(losses("f64-1")[-1] < losses("f64-1")[0], f"it learns: {losses('f64-1')}")
    t.check(any(line["split"] == "validation" for line in metrics(t.dir / "f64-8")), "the first rank evaluates")
    t.check(metrics(t.dir / "f64-8")[0]["tokens"] == 8 * 32, "tokens of a step are those of all ranks")

    # fast: other orders of sums, so f64 agrees to rounding and no more is promised. 3 ranks and their 6 micro-batches too.
    fast = {"precision": {"compute": "f64"}}
    for count, ranks in ((8, 8), (6, 3)):
        pair = [f"fast-{count}-{ranks}" for ranks in (1, ranks)]
        train(pair[0], 1, merge(fast, {"batch": {"sequences": count}}))
        train(pair[1], ranks, merge(fast, {"batch": {"sequences": count}}))
        apart = max(abs(x - y) / abs(x) for x, y in zip(*map(losses, pair)))
        t.check(apart < 1e-12, f"fast, {ranks} ranks and {count} micro-batches: losses agree to {apart:.1e}")
    t.check(losses("fast-8-1")[0] != losses("f64-1")[0], "jitter acts")

    def again(plan, run, *more):
        return t.must(t.moec_run, f"{plan}.moec", "train", "--run-dir", run, "--threads", 1, *more)

    # ordered with three ranks: an order of its own, the same each time and for any number of threads.
    train("three", 3, merge(f32, {"batch": {"sequences": 6}}))
    t.must(t.moec_run, "three.moec", "train", "--run-dir", "three-again", "--threads", 2)
    same("three", "three-again", "ordered, 3 ranks, twice")

    # A run of many ranks goes on with another number of them. --max-steps saves nothing: checkpoints are of even steps.
    again("f64-4", "part", "--max-steps", 2)
    again("f64-2", "part", "--resume", "--max-steps", 2)
    done = again("f64-8", "part", "--resume")
    t.check("resumed from" in done.stdout and "this time 1" in done.stdout, "one step is left for 8 ranks")
    same("f64-1", "part", "2 steps on 4 ranks, 2 on 2, 1 on 8")

    # A signal stops all ranks after one step, with a checkpoint.
    def saved(run):
        return sorted(int(path.name[5:]) for path in (t.dir / run / "checkpoints").glob("step-*"))

    code = t.stop_after("stopped/checkpoints/step-00000004", signal.SIGTERM, t.moec_run, "f32-4.moec", "train", "--run-dir",
                        "stopped", "--threads", 1)
    t.check(code == 7, f"SIGTERM on 4 ranks: exit code 7, is {code}")
    stop = saved("stopped")[-1]
    again("f32-2", "stopped", "--resume", "--max-steps", 3)
    last = saved("stopped")[-1]
    again("f32-1", "unstopped", "--max-steps", last)
    t.check(last > stop, f"resumed at step {stop}, saved at {last}")
    t.check(state("stopped", last) == state("unstopped", last),
            f"stopped on 4 ranks, resumed on 2: step {last} has the bytes of an uninterrupted run")

    # Data that end in mid-run: all ranks end, and the good steps are saved.
    text = (t.dir / "a.txt").read_bytes()
    process = subprocess.Popen([t.moec_run, "f32-4.moec", "train", "--run-dir", "cut", "--threads", "1"], cwd=t.dir,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log, deadline = t.dir / "cut/metrics.jsonl", time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.truncate(t.dir / "a.txt", 64)
    out, err = process.communicate(timeout=60)
    t.check(process.returncode == 4 and "a.txt" in err, f"data cut short: exit code {process.returncode}, {err[-300:]!r}")
    steps = [line["step"] for line in metrics(t.dir / "cut")]
    t.check(saved("cut")[-1] == steps[-1], f"data cut short: step {steps[-1]} is saved: {saved('cut')}")
    (t.dir / "a.txt").write_bytes(text)

    # One process is enough to look at a run of many ranks.
    plan = "f64-8.moec"
    done = t.must(t.moec_run, plan, "eval", "--run-dir", "f64-8", "--json")
    alone = t.must(t.moec_run, "f64-1.moec", "eval", "--run-dir", "f64-1", "--json")
    loss = [json.loads(text.stdout.splitlines()[-1])["loss"] for text in (done, alone)]
    t.check(loss[0] == loss[1], f"eval of a run of 8 ranks: {loss}")
    words = ["generate", "--prompt", "the ", "--bytes", 8, "--seed", 1]
    texts = [t.must(t.moec_run, f"f64-{ranks}.moec", *words, "--run-dir", f"f64-{ranks}").stdout for ranks in (1, 8)]
    t.check(texts[0] == texts[1] and texts[0], f"generate of a run of 8 ranks: {texts}")
    text = t.must(t.moec_run, plan, "describe").stdout
    t.check("ranks: 8 (data 8)" in text, "describe says how many ranks")
