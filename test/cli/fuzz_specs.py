#!/usr/bin/env python3
"""Random specs over the whole language: check, compile and train each on every CPU target this machine runs.

Whatever check admits must compile and train, and states after a few steps in f64 must be the same on all targets, up to
the order of sums: row tiles, fusion and vectors differ between them. With one thread, with two, and with a stop and a
resume in between, the bits must be the same. What check refuses must be refused with a code.

    fuzz_specs.py build/bin [--first 0] [--count 100] [--gpu] [--keep FOLDER]
"""
import argparse
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

STEPS = 5
# After each step, of the largest element. Training magnifies differences; a lost write is seen at once.
TOLERANCES = (1e-9, 1e-8, 1e-6, 1e-4, 1e-2)


def some(rng, chance, section, key, make):
    """Gives `section` the key with that chance."""
    if rng.random() < chance:
        section[key] = make()


def length(rng, longest=STEPS):
    return rng.choice([{"steps": rng.randint(1, longest)}, {"fraction": rng.choice([0.2, 0.4, 0.6])}])


def lite(rng, of):
    keys = {}
    some(rng, 0.5, keys, "chi", lambda: rng.choice([1, 2, 5.5]))
    if of != "adamw":
        some(rng, 0.7, keys, "beta1", lambda: rng.choice([0, 0.5, -0.3, 1]))
        some(rng, 0.7, keys, "beta2", lambda: rng.choice([0, 0.5, 1, -0.3]))
    if of != "muon":
        some(rng, 0.3, keys, "smooth", lambda: rng.choice([0, 0.1, 1]))
    some(rng, 0.5, keys, "sharp_fraction", lambda: rng.choice([0, 0.1, 0.4, 1]))
    some(rng, 0.4, keys, "chi_schedule", lambda: rng.choice(["constant", "floor", "ramp"]))
    some(rng, 0.4, keys, "ramp", lambda: length(rng))
    return keys


def optimizer(rng, kind):
    keys = {"kind": kind}
    if kind in ("adamw", "adamw_lite", "galore", "soap", "adamh"):
        some(rng, 0.4, keys, "betas", lambda: rng.choice([[0, 0], [0, 0.9], [0.9, 0.9], [0.5, 0.95], [0.9, 0.99]]))
        some(rng, 0.2, keys, "eps", lambda: rng.choice([1e-8, 1e-5, 1]))
    if kind in ("adamw", "adamw_lite", "galore", "soap", "muon"):
        some(rng, 0.4, keys, "weight_decay", lambda: rng.choice([0, 0.3, 10]))
    if kind in ("muon", "muonh"):
        some(rng, 0.4, keys, "momentum", lambda: rng.choice([0, 0.5, 0.95]))
        some(rng, 0.4, keys, "nesterov", lambda: False)
        keys["ns"] = {"steps": rng.randint(1, 3), "coefficients": rng.choice(["keller", "polar5", "polar_express"])}
    if kind == "muon":
        some(rng, 0.4, keys, "scale", lambda: rng.choice(["keller", "spectral", "moonlight", "none"]))
    if kind in ("muon", "soap"):
        some(rng, 0.4, keys, "lite", lambda: lite(rng, kind))
    if kind == "adamw_lite":
        keys.update(lite(rng, "adamw"))
    if kind == "galore":
        keys.update(rank=rng.choice([1, 3, 4, 8, 500]), every=rng.randint(1, 4))
    if kind == "soap":
        keys["every"] = rng.randint(1, 4)
        some(rng, 0.3, keys, "max_side", lambda: rng.choice([1, 16, 24]))
        some(rng, 0.3, keys, "factor_beta", lambda: rng.choice([0, 0.5]))
    return keys


def groups(rng, bases, dense, mixture, shared):
    """Groups of several optimizers. Those with bases only where gradients have full rank: others are not unique."""
    patterns = ["attention.q", "attention.{k,v}", "attention.o"]
    if dense:
        patterns += ["ffn.gate", "ffn.up", "ffn.down"] if rng.random() < 0.5 else ["ffn.{gate,up}", "ffn.down"]
    if mixture:
        patterns += ["moe.experts.gate", "moe.experts.up", "moe.experts.down"] if rng.random() < 0.5 else ["moe.experts.*"]
    if mixture and not bases:
        patterns += ["moe.router*"]
    if shared:
        patterns += ["moe.shared.*"]
    kinds = ["soap", "soap", "galore", "muon"] if bases else ["adamw", "adamw_lite", "adamh", "muon", "muon", "muonh"]
    found = {}
    for pattern in rng.sample(patterns, rng.randint(0, min(4, len(patterns)))):
        found[f"g{len(found)}"] = {"match": ["layers.*." + pattern], **optimizer(rng, rng.choice(kinds))}
    if rng.random() < 0.2:
        found["rest"] = {"match": [rng.choice(["embed", "*norm*"])], **optimizer(rng, rng.choice(["adamw", "adamw_lite"]))}
    for group in found.values():
        some(rng, 0.2, group, "lr", lambda: rng.choice([0, 1e-2]))
    return found


def router(rng, moe):
    experts, keys = moe["num_experts"], {}
    if rng.random() < 0.15 and "capacity" not in moe and "top_k_per_layer" not in moe:
        keys["kind"] = "expert_choice"
        scope = rng.choice(["position", "batch", "sequence"])
        keys["scope"] = scope
        if scope != "position":
            keys["see_future"] = True
        some(rng, 0.5, keys, "capacity_factor", lambda: rng.choice([1, 1.5, 2]))
        some(rng, 0.3, keys, "then", lambda: {"at": {"steps": 2}, "capacity_factor": 1, "over": {"steps": 2},
                                              "stages": 2})
    score = rng.choice(["softmax", "softmax", "sigmoid", "sqrt_softmax", "sqrt_softplus"])
    if moe["top_k"] == 1:
        score = "sigmoid"
    keys["score"] = {"kind": score, "order": "post"} if score == "softmax" and rng.random() < 0.3 else score
    if score != "sqrt_softmax" and (moe["top_k"] > 1 or rng.random() < 0.1):
        some(rng, 0.4, keys, "normalize", lambda: True)
    some(rng, 0.3, keys, "scale", lambda: 2.5)
    some(rng, 0.2, keys, "jitter", lambda: 0.1)
    if experts % 2 == 0 and rng.random() < 0.25:
        count = rng.choice([n for n in (2, 4, experts) if experts % n == 0])
        keys["groups"] = {"count": count, "top": rng.randint(1, count), "score": rng.choice(["max", "top2_sum"])}
    if rng.random() < 0.5:
        balance = rng.choice(["bias", "bip", "quantile", "sinkhorn", "budget_bias"])
        keys["balance"] = {"kind": balance, **{
            "bias": lambda: {"rate": rng.choice([0, 0.01, 0.3]), "update": rng.choice(["sign", "proportional"]),
                             "center": rng.random() < 0.5},
            "bip": lambda: {"iterations": rng.randint(1, 4), "warm_start": rng.random() < 0.5,
                            "clip": rng.random() < 0.5, "scope": rng.choice(["micro", "global"]),
                            "inference": rng.choice(["last", "none"])},
            "quantile": lambda: {"ema": rng.choice([0, 0.9])},
            "sinkhorn": lambda: {"share": rng.choice([0, 0.5, 1]), "cost": rng.choice(["softmax", "linear"]),
                                 "noise": rng.choice([0, 0.1]), "max_iterations": rng.choice([1, 30])},
            "budget_bias": lambda: {"expected": rng.choice([0.5, 1, 1.5]), "rate": rng.choice([0, 0.05])},
        }[balance]()}
    if rng.random() < 0.07:
        keys["debug"] = rng.choice(["balanced", {"kind": "skewed", "exponent": 2}])
    return keys


def losses(rng, mixtures):
    every = {"hidden_z": lambda: {}}
    if mixtures:
        every.update({
            "load_balance": lambda: {"scope": rng.choice(["micro", "sequence", "global"]),
                                     "choices": rng.choice(["scores", "actual"])},
            "router_z": lambda: {},
            "erc": lambda: {"activation": rng.choice(["gate", "up", "silu_gate", "swiglu", "output"]),
                            "noise": rng.choice(["bounded_uniform", "none"]), "alpha": rng.choice([0, 1]),
                            "layer_reduce": rng.choice(["sum", "mean"])},
            "specialization": lambda: {"form": rng.choice(["cos", "abs", "squared"]), "every": rng.choice([1, 2])},
        })
    if mixtures > 1:
        every["coupling"] = lambda: {"pairs": rng.choice(["topk_x_topk", "largest_k"]),
                                     "detach_hidden": rng.random() < 0.5}
    return {name: {"weight": rng.choice([0.01, 1]), **every[name]()} for name in every if rng.random() < 0.25}


def watches(rng, mixtures, balanced):
    names = {"activation_rms": {"of": "experts"}, "coactivation_cosine": {}, "congestion": {}, "domain_information": {},
             "load_share": {}, "max_logit": {}, "route_churn": {"tokens": 5, "every": {"steps": 2}},
             "routing_entropy": {}, "score_share": {}}
    if mixtures > 1:
        names["next_layer_predictability"] = {}
    return {name: names[name] for name in names if rng.random() < 0.15}


def random_spec(seed):
    """A spec that check admits more often than not. Its data are the files of write_data."""
    rng = random.Random(seed)
    bases = rng.random() < 0.3
    layers, heads, head_dim = rng.randint(1, 4), rng.choice([1, 2, 3, 4]), rng.choice([2, 4, 6, 8, 16])
    hidden = rng.choice([4, 8, 12, 16, 17, 20, 24, 31, 32, 40, 48])
    if bases:
        heads, head_dim = rng.choice([1, 2]), rng.choice([4, 6, 8])  # all matrices are square
        hidden = heads * head_dim
    model = {"hidden_size": hidden, "num_layers": layers, "attention": {"num_heads": heads, "head_dim": head_dim}}
    attention = model["attention"]
    some(rng, 0 if bases else 0.4, attention, "num_kv_heads", lambda: rng.choice([n for n in (1, 2, 3, 4) if heads % n == 0]))
    some(rng, 0.4, attention, "qk_norm", lambda: rng.choice(["head", "full"]))
    some(rng, 0.3, attention, "window", lambda: rng.choice([2, 3, 8, 100]))  # 1: gradients of 0 but for rounding
    some(rng, 0.2, model, "tie_embeddings", lambda: True)
    some(rng, 0.2, model, "vocab_size", lambda: rng.choice([257, 300, 320]))
    some(rng, 0.3, model, "norm", lambda: {"placement": "peri"})
    model["init"] = {"std": rng.choice([0.02, 0.3, 1])}
    some(rng, 0.3, model["init"], "residual_scale", lambda: "none")
    mixtures = shared = 0
    dense = True
    if rng.random() < 0.85:
        moe = model["moe"] = {"num_experts": rng.choice([2, 3] if bases else [1, 2, 3, 4, 5, 8, 12]),
                              "expert": {"inner_size": hidden if bases else rng.choice([1, 4, 8, 11, 16, 20, 32])}}
        moe["top_k"] = rng.randint(1, min(4, moe["num_experts"]))
        some(rng, 0.4, moe, "layers", lambda: {"from": rng.randint(0, layers - 1), "every": rng.randint(1, 2)})
        start, stride = moe.get("layers", {}).get("from", 0), moe.get("layers", {}).get("every", 1)
        mixtures = len(range(start, layers, stride))
        dense = mixtures < layers
        some(rng, 0.3, moe, "shared_experts", lambda: 1 if bases else rng.randint(1, 3))
        some(rng, 0.25, moe, "capacity", lambda: {"factor": rng.choice([0.1, 0.5, 1, 1.3]),
                                                  "drop": rng.choice(["lowest_weight", "position", "random2"])})
        some(rng, 0.15, moe, "top_k_per_layer", lambda: [rng.randint(1, moe["top_k"]) for _ in range(mixtures)])
        some(rng, 0.1, moe, "block", lambda: "shortcut")
        shared = moe.get("shared_experts", 0)
        model["router"] = router(rng, moe)
        zeros = model["router"].get("balance", {}).get("kind") == "budget_bias"
        some(rng, 1 if zeros else 0.1, moe, "zero_experts", lambda: rng.randint(1, 3))
        dense = dense or moe.get("block") == "shortcut"
    if dense:
        model["ffn"] = {"inner_size": hidden if bases else rng.choice([1, 8, 12, 16, 33])}
    some(rng, 0.15, model, "multi_token", lambda: {"depth": rng.randint(1, 2)})
    sequences = rng.choice([4, 6] if bases else [1, 2, 3, 4, 6])
    steps = {"steps": STEPS}
    spec = {
        "moec": 1, "name": "fuzz", "seed": seed, "model": model, "losses": losses(rng, mixtures),
        "optimizer": {**optimizer(rng, rng.choice(["adamw", "adamw", "adamw_lite"])),
                      "lr": rng.choice([1e-3, 1e-2]), "groups": groups(rng, bases, dense, mixtures, shared)},
        "data": {"seq_len": rng.choice([32, 41] if bases else [3, 4, 7, 8, 16, 25, 32]), "train": {"a": {"path": "a.txt"}}},
        "batch": {"sequences": sequences,
                  "micro_sequences": rng.choice([n for n in range(1, sequences + 1) if sequences % n == 0])},
        "duration": steps, "precision": {"compute": "f64"}, "metrics": {"every": {"steps": 1}},
        "evaluate": {"every": {"steps": 2}, "batches": 2}, "checkpoint": {"every": {"steps": 1}, "keep_last": STEPS},
    }
    spec["data"]["validation"] = {"b": {"path": "b.txt"}}
    some(rng, 0.3, spec["data"]["train"], "b", lambda: {"path": "b.txt", "weight": 0.3})
    some(rng, 0.3, spec["optimizer"], "clip_norm", lambda: rng.choice([None, 0.01]))
    some(rng, 0.6, spec["optimizer"], "schedule", lambda: {
        "kind": rng.choice(["cosine", "linear", "wsd"]), "warmup": {"steps": rng.randint(1, 2)}, "floor": 0.1})
    some(rng, 0.15, spec["optimizer"], "scaling", lambda: rng.choice([{"kind": "mup", "base_width": 8}, "hyperp"]))
    if mixtures:
        some(rng, 0.25, spec["metrics"], "watch", lambda: watches(rng, mixtures, "balance" in model["router"]))
        some(rng, 0.1, spec, "changes", lambda: {"later": {
            "at": {"steps": 3}, "top_k_per_layer": [rng.randint(1, model["moe"]["top_k"]) for _ in range(mixtures)]}})
    some(rng, 0.4, spec, "memory", lambda: {"remat": rng.choice(["none", "selective", "full"])})
    return spec


def write_data(folder):
    letters = random.Random(0)
    for name in "ab":
        (folder / f"{name}.txt").write_bytes(bytes(letters.randrange(256) for _ in range(4000)))


def tensors(checkpoint):
    """Name -> numbers of every f64 tensor of a checkpoint; of other types their bytes."""
    found = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        raw = shard.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                data = raw[8 + size + begin:8 + size + end]
                found[name] = struct.unpack(f"<{len(data) // 8}d", data) if entry["dtype"] == "F64" else data
    return found


class Finding(Exception):
    pass


class Fuzzer:
    def __init__(self, programs, folder, targets):
        self.moec, self.run_plan = str(programs / "moec"), str(programs / "moec-run")
        self.folder, self.targets = folder, targets

    def call(self, *words, expected=(0,)):
        try:
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=120, errors="replace")
        except subprocess.TimeoutExpired:
            raise Finding(f"hangs: {' '.join(words)}") from None
        if done.returncode not in expected or "internal" in done.stderr:
            raise Finding(f"exit {done.returncode}: {' '.join(words)}\n{done.stderr[-1500:]}")
        return done

    def train(self, target, run, *words):
        # A loss that is not finite is what some specs deserve.
        done = self.call(self.run_plan, f"{target}.moec", "train", "--run-dir", run, "--data-dir", ".", *words,
                         expected=(0, 6))
        saved = sorted((self.folder / run / "checkpoints").glob("step-*"))
        return None if done.returncode else {int(folder.name[5:]): tensors(folder) for folder in saved}

    def same(self, spec, found, expected, what):
        if found is None or expected is None:
            if found is not expected:
                raise Finding(f"{what}: one run ended, the other did not")
            return
        # Bases have any sign, and what lies in them turns with them.
        bases = any(group["kind"] in ("soap", "galore") for group in spec["optimizer"]["groups"].values())
        for step, tolerance in enumerate(TOLERANCES, 1):
            if found[step].keys() != expected[step].keys():
                raise Finding(f"{what}: other tensors: {sorted(found[step].keys() ^ expected[step].keys())}")
            for name, values in expected[step].items():
                if isinstance(values, bytes) or (name.startswith("optimizer.") and bases):
                    continue
                # What is 0 but for rounding may be anything as small.
                bound = max(tolerance * max(map(abs, values), default=0), 1e-13)
                worst = max((abs(a - b) for a, b in zip(found[step][name], values)), default=0)
                if not worst <= bound:
                    raise Finding(f"{what}: step {step}: {name} differs by {worst:.1e}, bound {bound:.1e}")

    def one(self, seed, gpu):
        spec = random_spec(seed)
        path = self.folder / "fuzz.json"
        path.write_text(json.dumps(spec))
        checked = self.call(self.moec, "check", "fuzz.json", expected=(0, 1))
        if checked.returncode:
            if "error[MOEC-" not in checked.stderr:
                raise Finding(f"no code: {checked.stderr}")
            return "refused " + checked.stderr.split("error[")[1].splitlines()[0]
        if gpu:
            for precision in ({"compute": "f32"}, {"compute": "bf16"}):
                path.write_text(json.dumps({**spec, "precision": precision}))
                self.call(self.moec, "compile", "fuzz.json", "--target", "sm_90a", "--emit", "ptx", "--no-cache", "-o", "g.moec")
            return "compiled"
        states = {}
        for target in self.targets:
            self.call(self.moec, "compile", "fuzz.json", "--target", target, "-o", f"{target}.moec")
            states[target] = self.train(target, f"r-{target}", "--overwrite", "--threads", "2")
        first = self.targets[-1]
        for target in self.targets[:-1]:
            self.same(spec, states[target], states[first], f"{target} against {first}")
        once = self.train(first, "r-stop", "--overwrite", "--threads", "1", "--max-steps", "2", "--poison")
        if once is not None:
            once = self.train(first, "r-stop", "--resume", "--threads", "1")
            if once[STEPS] != states[first][STEPS]:
                raise Finding("other bits after a stop, with one thread and poison")
        if states[first] is None:
            return "not finite"
        self.call(self.run_plan, f"{first}.moec", "eval", "--run-dir", "r-stop", "--data-dir", ".")
        self.call(self.run_plan, f"{first}.moec", "generate", "--run-dir", "r-stop", "--prompt", "ab", "--bytes", "3")
        return "ok"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("programs", type=pathlib.Path)
    options.add_argument("--first", type=int, default=0, help="seed of the first spec")
    options.add_argument("--count", type=int, default=100)
    options.add_argument("--gpu", action="store_true", help="compile for sm_90a only")
    options.add_argument("--keep", type=pathlib.Path, help="where specs with findings are written")
    args = options.parse_args()
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    targets = ["x86-64"] + ["x86-64-v3"] * (" avx2 " in flags) + ["x86-64-v4"] * (" avx512f " in flags)
    findings = 0
    for seed in range(args.first, args.first + args.count):
        with tempfile.TemporaryDirectory(prefix="moec-fuzz-") as name:
            folder = pathlib.Path(name)
            write_data(folder)
            try:
                print(seed, Fuzzer(args.programs.resolve(), folder, targets).one(seed, args.gpu), flush=True)
            except Finding as finding:
                findings += 1
                print(f"{seed} FINDING {finding}", flush=True)
                if args.keep:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(folder / "fuzz.json", args.keep / f"{seed}.json")
    print(f"{findings} findings")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
