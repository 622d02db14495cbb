#!/usr/bin/env python3
"""Same bits: a plan compiled twice; 20 steps at once against 7, kill -9 and 13 more; two runs; 1 and 2 threads;
SIGTERM; --poison; a spec that extends the other from elsewhere; kill -9 and resume with every optimizer, and with losses
and measures that draw numbers or remember.

  resume.py BIN_FOLDER
"""
import json
import signal

from clilib import SPEC, Test, metrics, tensors

# Each has a matrix, a stack of experts, or both.
OPTIMIZERS = {
    "muon": {"match": ["*.attention.{q,k}", "*.experts.gate"], "kind": "muon"},
    "lite": {"match": ["*.attention.v", "*.experts.up"], "kind": "muon", "ns": {"steps": 6, "coefficients": "polar_express"},
             "lite": {"beta1": -0.25, "beta2": 1, "chi": 2}},
    "muonh": {"match": ["*.attention.o"], "kind": "muonh"},
    "soap": {"match": ["*.ffn.gate", "*.experts.down"], "kind": "soap", "every": 3},
    "galore": {"match": ["*.ffn.{up,down}", "*.shared.up"], "kind": "galore", "rank": 8, "every": 5},
    "adamh": {"match": ["head", "*.router"], "kind": "adamh"},
    "adamw_lite": {"match": ["embed", "*norm*"], "kind": "adamw_lite"},
}

# What balancing keeps, noise, fewer experts from a step on between the kill and the end.
ROUTERS = {
    "bias": ({"moe": {"zero_experts": 4, "top_k_per_layer": [2, 1], "capacity": {"factor": 1.5, "drop": "random2"}},
              "router": {"score": "sigmoid", "jitter": 0.02, "balance": {"kind": "bias", "rate": 0.01}}},
             {"sparser": {"at": {"steps": 10}, "top_k_per_layer": [1, 1]}}),
    "bip": ({"router": {"balance": {"kind": "bip", "scope": "global"}}}, {}),
    "quantile": ({"router": {"balance": "quantile"}}, {}),
    "sinkhorn": ({"router": {"balance": {"kind": "sinkhorn", "share": 0.5, "noise": 0.1}}}, {}),
    "budget_bias": ({"moe": {"zero_experts": 4},
                     "router": {"balance": {"kind": "budget_bias", "expected": 1.3, "rate": 0.05, "decay_from": {"steps": 10}}}}, {}),
    # Fewer and fewer tokens per expert, between the kill and the end.
    "expert_choice": ({"router": {"kind": "expert_choice", "capacity_factor": 4,
                                  "then": {"at": {"steps": 5}, "capacity_factor": 1, "over": {"steps": 12}}}}, {}),
    "skewed": ({"router": {"debug": "skewed"}}, {}),
}

with Test() as t:
    def same(run, what):
        first, other = tensors(t.dir / "whole/checkpoints/step-00000020"), tensors(t.dir / run / "checkpoints/step-00000020")
        differ = [name for name in first if first[name] != other.get(name)]
        t.check(len(first) > 20 and first.keys() == other.keys() and not differ,
                f"{what}: the {len(first)} tensors of step 20 have the same bytes {differ}")
        lines = metrics(t.dir / "whole"), metrics(t.dir / run)
        t.check(lines[0] == lines[1], f"{what}: the same {len(lines[0])} lines of metrics, to the last digit")

    t.must(t.moec, "train", t.spec, "--run-dir", "whole", "--threads", 2)
    lines = metrics(t.dir / "whole")
    steps = [line["step"] for line in lines if line["split"] == "train"]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    t.check(steps == list(range(1, 21)), f"a line for each step: {steps}")
    t.check(float(losses[-1]) < float(losses[0]) - 0.5, f"it learns: {losses[0]} to {losses[-1]}")
    t.check(any(line["split"] == "validation" for line in lines), "validation lines")
    plan = t.dir / "whole.moec"

    for threads in (1, 2):
        t.must(t.moec, "compile", t.spec, "--compile-threads", threads, "-o", "twice.moec")
        t.check((t.dir / "twice.moec").read_bytes() == plan.read_bytes(), f"compiled again with {threads} threads: the same plan")

    def train(run, *more):
        return [t.moec_run, plan, "train", "--run-dir", run, *more]

    for attempt in range(5):
        code = t.stop_after("killed/checkpoints/step-00000007", signal.SIGKILL, *train("killed", "--overwrite", "--threads", 2))
        names = sorted(path.name for path in (t.dir / "killed/checkpoints").glob("step-*"))
        if names == ["step-00000007"]:
            break
    t.check(code == -signal.SIGKILL and names == ["step-00000007"], f"killed after step 7: {code}, {names}")
    done = t.must(*train("killed", "--resume", "--threads", 2))
    t.check("resumed from" in done.stdout and "this time 13" in done.stdout, "13 steps after the kill")
    same("killed", "kill -9 and resume")

    t.must(*train("again", "--threads", 2))
    same("again", "a second run")
    t.must(*train("one", "--threads", 1))
    same("one", "one thread")
    t.must(*train("poison", "--threads", 2, "--poison"))
    same("poison", "values filled with NaN before each function")

    code = t.stop_after("stopped/checkpoints/step-00000007", signal.SIGTERM, *train("stopped", "--overwrite", "--threads", 2))
    saved = sorted(path.name for path in (t.dir / "stopped/checkpoints").glob("step-*"))
    t.check(code == 7, f"SIGTERM: exit code 7, is {code}")
    t.check("step-00000020" not in saved and len(saved) > 0, f"SIGTERM: a checkpoint before the end: {saved}")
    t.must(*train("stopped", "--resume", "--threads", 1))
    same("stopped", "SIGTERM and resume, with one thread")

    t.must(*train("max", "--max-steps", 7, "--threads", 1))
    t.must(*train("max", "--resume"))
    same("max", "--max-steps 7 and resume")

    # From elsewhere: the paths in the spec do not depend on the directory.
    other = t.dir / "elsewhere"
    other.mkdir()
    (other / "child.json").write_text('{"extends": "../small.json", "name": "child", "duration": {"steps": 20}}')
    t.must("sh", "-c", f"cd elsewhere && {t.moec} check child.json && {t.moec} train child.json --run-dir ../moved")
    same("moved", "a spec that extends it from another folder")
    t.must("sh", "-c", f"cd / && {t.moec} check {other}/child.json")

    # Going on with a changed spec is refused, and the plan of the run stays.
    before = (t.dir / "moved.moec").read_bytes()
    (other / "child.json").write_text('{"extends": "../small.json", "name": "child", "duration": {"steps": 30}}')
    code = t.run("sh", "-c", f"cd elsewhere && {t.moec} train child.json --run-dir ../moved --resume").returncode
    t.check(code == 5, f"resume with a changed spec: exit code 5, is {code}")
    t.check((t.dir / "moved.moec").read_bytes() == before, "the plan of the run is as it was")
    t.check(not (t.dir / "moved.moec.new").exists(), "nothing is left behind")

    # Optimizers whose state is of other shapes than their parameters', or changes at some steps only.
    optimizer = SPEC["optimizer"] | {"groups": OPTIMIZERS}
    t.spec.write_text(json.dumps(SPEC | {"optimizer": optimizer}))
    t.must(t.moec, "train", t.spec, "--run-dir", "whole", "--overwrite", "--threads", 2)
    code = t.stop_after("groups/checkpoints/step-00000007", signal.SIGKILL, *train("groups", "--overwrite", "--threads", 2))
    t.check(code == -signal.SIGKILL, f"killed after step 7: {code}")
    t.must(*train("groups", "--resume", "--threads", 1))
    same("groups", "every optimizer: kill -9, and resume with one thread")

    # Noise, what goes from layer to layer, and what measures remember from step to step.
    watch = {"route_churn": {"tokens": 32, "every": {"steps": 3}}, "domain_information": {}, "max_logit": {}, "congestion": {},
             "next_layer_predictability": {}, "coactivation_cosine": {}}
    losses = SPEC["losses"] | {"erc": {"weight": 1}, "specialization": {"weight": 2e-3}, "coupling": {"weight": 1e-3}}
    t.spec.write_text(json.dumps(SPEC | {"losses": losses, "metrics": SPEC["metrics"] | {"watch": watch}}))
    t.must(t.moec, "train", t.spec, "--run-dir", "whole", "--overwrite", "--threads", 2)
    code = t.stop_after("watched/checkpoints/step-00000007", signal.SIGKILL, *train("watched", "--overwrite", "--threads", 2))
    t.check(code == -signal.SIGKILL, f"killed after step 7: {code}")
    t.must(*train("watched", "--resume", "--threads", 1))
    same("watched", "losses and measures: kill -9, and resume with one thread")
    churn = [layer[0] for line in metrics(t.dir / "whole") if line["split"] == "train" for layer in line["route_churn"]]
    t.check(max(map(float, churn)) > 0, f"routes change: {max(map(float, churn))} at most")

    for name, (model, changes) in ROUTERS.items():
        merged = SPEC["model"] | {"router": model["router"], "moe": SPEC["model"]["moe"] | model.get("moe", {})}
        t.spec.write_text(json.dumps(SPEC | {"model": merged, "changes": changes, "losses": {"router_z": {"weight": 0.001}}}))
        t.must(t.moec, "train", t.spec, "--run-dir", "whole", "--overwrite", "--threads", 2)
        code = t.stop_after(f"{name}/checkpoints/step-00000007", signal.SIGKILL, *train(name, "--overwrite", "--threads", 2))
        t.check(code == -signal.SIGKILL, f"killed after step 7: {code}")
        t.must(*train(name, "--resume", "--threads", 1))
        same(name, f"{name}: kill -9, and resume with one thread")
