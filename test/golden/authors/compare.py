"""compare.py MOEC-STEPS [NAME]: moec against published code and definitions, step by step in float64.

MOEC-STEPS is build/test/golden/moec-steps. Both sides get the same parameters, gradients or tokens; after each step
everything that a step leaves is compared. Prints a row for each method, and fails where a difference is above its bound.
"""
import fnmatch, json, os, subprocess, sys, tempfile, threading
from concurrent.futures import ThreadPoolExecutor
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small, and parts run side by side
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "oracle")]
import optimizers as o
import routing as r
import safetensors_lite

DUMP, ONLY = sys.argv[1], sys.argv[2:]
RESULTS = threading.local()  # of the part that this thread does


def spec(model, optimizer, batch, steps, **more):
    return {"moec": 1, "name": "authors", "model": {"vocab_size": 256, **model}, "optimizer": optimizer,
            "data": {"seq_len": 8, "train": {"text": {"path": "text.txt"}}}, "batch": batch, "duration": {"steps": steps},
            "evaluate": None, "precision": {"compute": "f64"}, **more}


def run(text, given):
    """Tensors after each step: {"0/embed": ...}, flat."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("spec.json", "in.safetensors", "out.safetensors")]
        with open(paths[0], "w") as f:
            json.dump(text, f)
        safetensors_lite.write(paths[1], given)
        subprocess.run([DUMP, *paths], check=True)
        return safetensors_lite.read(paths[2])


def row(method, steps, difference, bound=1e-11):
    RESULTS.rows.append((method, steps, difference, bound))


def largest(x, y):
    worst = float(np.abs(np.asarray(x).ravel() - np.asarray(y).ravel()).max())
    return worst if np.isfinite(worst) else np.inf  # max() would lose a NaN


# --- Optimizers ---

STEPS, WARMUP, FLOOR = 34, 5, 0.1
# Sizes that tiles of rows divide, and sizes that they do not. Experts are square: the factors of SOAP have rank
# min(rows, columns) after the first step, and the eigenvectors of the rest would be any.
SIZES = {"even": dict(hidden=32, head=16, ffn=48), "odd": dict(hidden=22, head=6, ffn=19)}


def shapes_of(s):
    """Parameter -> (shape, number of matrices); weights are [in, out]."""
    d, q, k, f, e = s["hidden"], 3 * s["head"], s["head"], s["ffn"], s["hidden"]
    shapes = {"embed": (256, d), "head": (d, 256), "final_norm.scale": (1, d)}
    for i in (0, 1):
        layer = f"layers.{i}."
        shapes |= {layer + "attention." + n: shape for n, shape in
                   {"norm.scale": (1, d), "q": (d, q), "k": (d, k), "v": (d, k), "o": (q, d)}.items()}
    shapes |= {"layers.0.ffn." + n: shape for n, shape in
               {"norm.scale": (1, d), "gate": (d, f), "up": (d, f), "down": (f, d)}.items()}
    shapes |= {"layers.1.moe." + n: shape for n, shape in
               {"norm.scale": (1, d), "router": (d, 4), "experts.gate": (4, d, e), "experts.up": (4, d, e),
                "experts.down": (4, e, d), "shared.gate": (d, e), "shared.up": (d, e), "shared.down": (e, d)}.items()}
    return shapes


def optimizer_cases(cosine):
    """Row of the table -> parameters, section of the spec, and a maker of the published optimizer."""
    lite = o.Lite(STEPS, WARMUP, FLOOR, cosine)
    express = {"steps": 6, "coefficients": "polar_express"}
    schedules = ("ramp", "floor") if cosine else ("constant", "constant")
    matrix, other = (1, 2) if cosine else (0, 0)
    name = "cosine" if cosine else "wsd"
    cases = {
        f"LITE on Muon, {name}": (["layers.1.moe.experts.up", "layers.0.ffn.down"],
            {"kind": "muon", "lr": 0.02, "ns": express,
             "lite": {"beta1": -0.25, "beta2": 1, "chi": 2, "chi_schedule": schedules[0]}},
            lambda: o.MuonLite(lite, -0.25, 1, 2, matrix)),
        f"adamw_lite, {name}": (["embed"],
            {"kind": "adamw_lite", "lr": 0.01, "chi": 4, "chi_schedule": schedules[1], "eps": 1e-3},
            lambda: o.AdamWLite(lite, 4, other, eps=1e-3)),
        f"LITE on SOAP (ours), {name}": (["layers.1.moe.experts.gate"],
            {"kind": "soap", "lr": 0.01, "eps": 1e-3,
             "lite": {"beta1": 0.1, "beta2": 1, "chi": 3, "chi_schedule": schedules[0], "sharp_fraction": 0.2}},
            lambda: o.SoapLite(lite, 0.1, 1, 3, matrix, share=0.2, betas=(0.95, 0.95), decay=0.01, eps=1e-3)),
    }
    if not cosine:
        return cases
    return cases | {
        "AdamW": (["layers.*.attention.q"], {"kind": "adamw", "lr": 0.01, "eps": 1e-3}, lambda: o.AdamW(eps=1e-3)),
        "AdamH": (["layers.*.attention.k"], {"kind": "adamh", "lr": 0.02, "eps": 1e-3}, lambda: o.AdamH(eps=1e-3)),
        "Muon (scale keller)": (["layers.*.attention.v"], {"kind": "muon", "lr": 0.02, "scale": "keller"}, o.Muon),
        "Muon (scale moonlight)": (["layers.*.attention.o"], {"kind": "muon", "lr": 0.02}, o.Moonlight),
        "MuonH": (["layers.0.ffn.gate"], {"kind": "muonh", "lr": 0.02}, o.MuonH),
        "GaLore, every 10": (["layers.0.ffn.up"],
            {"kind": "galore", "lr": 0.01, "rank": 6, "every": 10, "weight_decay": 0.1, "eps": 1e-3},
            lambda: o.GaLore(6, 10, 0.25, 0.1, eps=1e-3)),
        "SOAP, every 10": (["layers.1.moe.experts.down", "layers.1.moe.shared.*"],
            {"kind": "soap", "lr": 0.01, "betas": [0.9, 0.97], "eps": 1e-3},
            lambda: o.Soap(betas=(0.9, 0.97), eps=1e-3, decay=0.01)),
        "LITE on Muon, sharp_fraction 0.3": (["layers.1.moe.router"],
            {"kind": "muon", "lr": 0.02, "ns": express, "lite": {"beta2": 1, "sharp_fraction": 0.3}},
            lambda: o.MuonLite(lite, 0, 1, 1, 0, share=0.3)),
        "adamw_lite, sharp_fraction 0": (["head"], {"kind": "adamw_lite", "lr": 0.01, "sharp_fraction": 0},
            lambda: o.AdamWLite(lite, 4, 0, share=0)),
        "adamw_lite, sharp_fraction 1": (["final_norm.scale"], {"kind": "adamw_lite", "lr": 0.01, "sharp_fraction": 1},
            lambda: o.AdamWLite(lite, 4, 0, share=1)),
    }


def matches(pattern, name):
    return fnmatch.fnmatchcase(name, pattern)


def compare_optimizers(size, cosine):
    s, cases = SIZES[size], optimizer_cases(cosine)
    shapes, rng = shapes_of(s), np.random.default_rng(5)
    groups = {f"g{i}": {"match": match} | section for i, (match, section, _) in enumerate(cases.values())}
    schedule = ({"kind": "cosine", "warmup": {"steps": WARMUP}, "floor": FLOOR} if cosine else
                {"kind": "wsd", "warmup": {"steps": WARMUP}, "decay": None})
    text = spec({"hidden_size": s["hidden"], "num_layers": 2, "ffn": {"inner_size": s["ffn"]},
                 "attention": {"num_heads": 3, "num_kv_heads": 1, "head_dim": s["head"]},
                 "moe": {"layers": {"from": 1}, "num_experts": 4, "top_k": 2, "shared_experts": 1,
                         "expert": {"inner_size": s["hidden"]}}},
                {"kind": "adamw", "lr": 0.01, "clip_norm": None, "schedule": schedule, "groups": groups},
                {"sequences": 1}, STEPS)
    given, drift = {}, {}
    for name, shape in shapes.items():
        given["init/" + name] = 0.3 * rng.standard_normal(shape)
        drift[name] = rng.standard_normal((*shape[:-1], 1)) * rng.standard_normal((*shape[:-2], 1, shape[-1]))
    for step in range(STEPS):
        for name, shape in shapes.items():
            given[f"{step}/grad.{name}"] = 0.2 * rng.standard_normal(shape) + 0.1 * drift[name]
    found = run(text, given)
    lite = o.Lite(STEPS, WARMUP, FLOOR, cosine)
    for method, (patterns, section, make) in cases.items():
        worst = 0.0
        for name, shape in shapes.items():
            if not any(matches(p, name) for p in patterns):
                continue
            matrices = int(np.prod(shape[:-2]))
            w = given["init/" + name].reshape(matrices, *shape[-2:]).swapaxes(1, 2)
            rules = [make() for _ in range(matrices)]
            for step in range(STEPS):
                g = given[f"{step}/grad.{name}"].reshape(matrices, *shape[-2:]).swapaxes(1, 2)
                lr = section["lr"] * (lite.rate(step, FLOOR) if cosine else min(1, (step + 1) / WARMUP))
                w = np.stack([rule.step(*pair, lr) for rule, *pair in zip(rules, w, g)])
                worst = max(worst, largest(found[f"{step}/{name}"], w.swapaxes(1, 2)))
        # LITE's code adds 1e-9 to a rate that it divides by, and 1e-12 to differences of v; here nothing depends on
        # the size of v.
        row(f"{method}, {size} sizes", STEPS, worst, 5e-9 if "lite" in method.lower() else 1e-11)


def compare_rates():
    """A first step of AdamW without decay is lr g / (|g| + eps): it shows the rate of each parameter."""
    model = {"hidden_size": 32, "num_layers": 2, "ffn": {"inner_size": 48}, "attention": {"num_heads": 2}}
    shapes = {"embed": (256, 32), "layers.0.attention.q": (32, 32), "layers.1.ffn.down": (48, 32)}
    given = {f"0/grad.{n}": np.ones(s) for n, s in shapes.items()} | {f"init/{n}": np.zeros(s) for n, s in shapes.items()}
    tokens = 3 * 4 * 8
    laws = {
        # microsoft/ArchScale pretrain.py: square root of the batch, of the depth, and the run's tokens to -0.32.
        "HyperP rates": ({"kind": "hyperp", "base_layers": 8, "base_batch": 1024, "base_tokens": 4096},
                         lambda name: (4 * 8 / 1024) ** 0.5 * (8 / 2) ** 0.5 * (tokens / 4096) ** -0.32),
        # microsoft/mup optim.py MuAdam: matrices with two sides that grow.
        "muP rates": ({"kind": "mup", "base_width": 8}, lambda name: 1 if name == "embed" else 8 / 32),
    }
    for method, (scaling, law) in laws.items():
        text = spec(model, {"kind": "adamw", "lr": 0.01, "weight_decay": 0, "clip_norm": None, "scaling": scaling,
                            "schedule": "constant"}, {"sequences": 4}, 3)
        found = run(text, given)
        row(method, 1, max(largest(found["0/" + n], -0.01 * law(n) / (1 + 1e-8)) for n in shapes))


# --- Routing ---

D, E, K, I, SEQ, MICROS, ROUTED_STEPS = 16, 8, 2, 12, 8, 2, 6


class Routed:
    """Runs a model of one mixture, and hands each micro-batch's numbers to `check`."""

    def __init__(self, router, losses, moe=None, silent=False, **more):
        rng = np.random.default_rng(11)
        shapes = {"embed": (256, D), "head": (D, 256), "layers.0.attention.o": (D, D), "layers.0.moe.router": (D, E),
                  "layers.0.moe.experts.gate": (E, D, I), "layers.0.moe.experts.up": (E, D, I),
                  "layers.0.moe.experts.down": (E, I, D)}
        given = {"init/" + n: rng.standard_normal(s) * (0.5 if n != "layers.0.moe.router" else 0.4) for n, s in shapes.items()}
        given["init/layers.0.attention.o"][:] = 0
        if silent:  # experts that return nothing: the router's gradient is that of its losses alone
            given["init/layers.0.moe.experts.down"][:] = 0
        for step in range(ROUTED_STEPS):
            for micro in range(MICROS):
                # Each micro-batch has its own narrow range of tokens, so that balancing has something to do.
                first = 20 * ((step + micro) % 4)
                given[f"{step}.{micro}/batch.tokens"] = rng.integers(first, first + 40, (2, SEQ + 1)).astype(np.int32)
        text = spec({"hidden_size": D, "num_layers": 1, "attention": {"num_heads": 2},
                     "moe": {"num_experts": E, "top_k": K, "expert": {"inner_size": I}} | (moe or {}), "router": router},
                    {"kind": "adamw", "lr": 1e-30, "clip_norm": None, "schedule": "constant"},
                    {"sequences": 4, "micro_sequences": 2}, ROUTED_STEPS, losses=losses, **more)
        self.given, self.out = given, run(text, given)
        self.p = {n: given["init/layers.0.moe.experts." + n] for n in ("gate", "up", "down")} | {"head": given["init/head"]}
        self.router = given["init/layers.0.moe.router"]

    def steps(self):
        """For each step its number and, of each micro-batch: x, logits, targets."""
        for step in range(ROUTED_STEPS):
            micros = []
            for micro in range(MICROS):
                tokens = self.given[f"{step}.{micro}/batch.tokens"]
                x = self.given["init/embed"][tokens[:, :-1].ravel()]
                micros.append((x, r.rms(x) @ self.router, tokens[:, 1:].ravel()))
            yield step, micros

    def state(self, step, name):
        return self.out[f"{step}/{name}"]


def weights_of(ids, weights):
    full = np.zeros((len(ids), E))
    np.put_along_axis(full, ids, weights, 1)
    return full


def compare_switch(scope):
    """Softmax over all experts, weights as they are; the loss beside z. `scope` global: counts of the step so far."""
    run_ = Routed({"score": {"kind": "softmax", "order": "pre"}, "normalize": False},
                  {"load_balance": {"weight": 0.3, "scope": scope}, "router_z": {"weight": 0.2}}, silent=True)
    worst = 0.0
    for step, micros in run_.steps():
        balance = z = 0.0
        slope, counts, tokens = 0, np.zeros(E), 0
        for x, logits, _ in micros:
            p = r.softmax(logits)
            own = r.mask_of(r.top_k(p, K), E).sum(0)
            counts, tokens = (counts + own, tokens + len(x)) if scope == "global" else (own, len(x))
            value, dp = r.switch_loss(p, counts, tokens, K)
            z_value, dz = r.z_loss(logits)
            balance, z = balance + value / MICROS, z + z_value / MICROS
            slope = slope + r.rms(x).T @ (0.3 * r.through_softmax(p, dp) + 0.2 * dz) / MICROS
        worst = max(worst, largest(run_.state(step, "metric.load_balance"), balance),
                    largest(run_.state(step, "metric.router_z"), z),
                    largest(run_.state(step, "grad.layers.0.moe.router"), slope))
    row(f"load_balance {scope}, router_z", ROUTED_STEPS, worst)


def compare_deepseek():
    """Sigmoid scores within groups, bias, the loss by sequence with choices among all experts (eq. 17 to 20)."""
    router = {"score": "sigmoid", "normalize": True, "scale": 2.5, "groups": {"count": 4, "top": 2, "score": "top2_sum"},
              "balance": {"kind": "bias", "rate": 0.05}}
    losses = {"load_balance": {"weight": 0.3, "scope": "sequence"}}
    loud, silent = Routed(router, losses), Routed(router, losses, silent=True)
    worst, bias = 0.0, np.zeros(E)
    for step, micros in loud.steps():
        counts, balance, loss, slope = np.zeros(E), 0.0, 0.0, 0
        for x, logits, targets in micros:
            s = r.sigmoid(logits)
            # A group counts with its two best scores, as in DeepSeek's own code (Megatron-LM's: k / top best).
            parts = (s + bias).reshape(len(s), 4, -1)
            inside = r.mask_of(r.top_k(np.sort(parts, -1)[:, :, -2:].sum(-1), 2), 4)[:, :, None]
            ids = r.top_k(np.where(inside > 0, parts, -np.inf).reshape(s.shape), K)
            counts += r.mask_of(ids, E).sum(0)
            chosen = np.take_along_axis(s, ids, 1)
            weights = weights_of(ids, 2.5 * chosen / (chosen.sum(-1, keepdims=True) + 1e-20))
            loss += r.language_loss(x, loud.p, weights, targets) / MICROS
            free, p = r.mask_of(r.top_k(s, K), E), s / (s.sum(-1, keepdims=True) + 1e-20)
            for first in range(0, len(x), SEQ):
                part = slice(first, first + SEQ)
                f = E / (K * SEQ) * free[part].sum(0)
                balance += (f * p[part].mean(0)).sum() / (len(x) // SEQ) / MICROS
                dp = np.broadcast_to(f / SEQ, (SEQ, E)) / (len(x) // SEQ) / MICROS
                slope = slope + r.rms(x[part]).T @ (0.3 * r.through_normalised_sigmoid(s[part], dp))
        bias = r.updated_bias(bias, counts, 0.05)
        for one in (loud, silent):
            worst = max(worst, largest(one.state(step, "metric.load_balance"), balance),
                        largest(one.state(step, "metric.expert_tokens"), counts),
                        largest(one.state(step, "balance.layers.0.router.bias"), bias))
        worst = max(worst, largest(loud.state(step, "metric.loss"), loss),
                    largest(silent.state(step, "grad.layers.0.moe.router"), slope))
    row("DeepSeek-V3: groups, bias, loss by sequence", ROUTED_STEPS, worst)


def compare_prices(kind):
    """quantile, bip and sinkhorn: who is chosen, what is kept, and the loss that comes of it."""
    balance = {"quantile": {"kind": "quantile", "ema": 0.8}, "bip": {"kind": "bip", "iterations": 3},
               "sinkhorn": {"kind": "sinkhorn", "share": 1, "cost": "linear", "xi": 0.5}}[kind]
    run_ = Routed({"score": {"kind": "softmax", "order": "pre"}, "normalize": False, "balance": balance}, {})
    worst, prices = 0.0, np.zeros(E)
    for step, micros in run_.steps():
        counts, loss, sums, ties = np.zeros(E), 0.0, 0, 0
        for x, logits, targets in micros:
            p = r.softmax(logits)
            if kind == "quantile":
                ids, column = r.quantile(logits, prices, K)
                sums = sums + column / MICROS
            elif kind == "bip":
                prices = r.bip_prices(p, prices, K, 3)
                ids, ranked = r.top_k(p - prices, K), np.sort(p - prices, -1)[:, ::-1]
                ties += (ranked[:, K - 1] - ranked[:, K] < 1e-12).sum()
            else:
                plan = r.sinkhorn_plan(logits, 0.5, 1e-4, 100)
                ids = r.top_k(plan, K)
            counts += r.mask_of(ids, E).sum(0)
            chosen = np.take_along_axis(plan if kind == "sinkhorn" else p, ids, 1)
            weights = chosen / chosen.sum(-1, keepdims=True) if kind == "sinkhorn" else chosen
            loss += r.language_loss(x, run_.p, weights_of(ids, weights), targets) / MICROS
        if kind == "quantile":
            prices = 0.8 * prices + 0.2 * sums
            prices = prices - prices.mean()
        if ties:  # prices are differences of scores, so a token can lie exactly between two experts: see bip.md
            worst = max(worst, max(0, np.abs(run_.state(step, "metric.expert_tokens") - counts).sum() - 2 * ties))
        else:
            worst = max(worst, largest(run_.state(step, "metric.expert_tokens"), counts),
                        largest(run_.state(step, "metric.loss"), loss))
        if kind != "sinkhorn":
            worst = max(worst, largest(run_.state(step, "balance.layers.0.router.bias"), prices))
    row({"quantile": "quantile", "bip": "bip", "sinkhorn": "sinkhorn, share 1"}[kind], ROUTED_STEPS, worst)


def compare_expert_choice():
    """Zhou et al. 2022: each expert takes its best T cf / E tokens, weighted by softmax over experts."""
    run_ = Routed({"kind": "expert_choice", "score": {"kind": "softmax", "order": "pre"}, "normalize": False,
                   "capacity_factor": 2.0, "scope": "batch", "see_future": True}, {})
    worst = 0.0
    for step, micros in run_.steps():
        loss = 0.0
        for x, logits, targets in micros:
            p = r.softmax(logits)
            taken = r.mask_of(r.top_k(p.T, int(2.0 * len(x) / E)), len(x)).T
            loss += r.language_loss(x, run_.p, p * taken, targets) / MICROS
        worst = max(worst, largest(run_.state(step, "metric.loss"), loss))
    row("expert_choice", ROUTED_STEPS, worst)


def compare_erc():
    run_ = Routed({}, {"erc": {"weight": 1, "alpha": 0.9, "noise": "none"}}, silent=True)
    value, router, gate = r.erc(run_.router, run_.p["gate"], 0.9)
    worst = max(largest(run_.state(0, "metric.erc"), value), largest(run_.state(0, "grad.layers.0.moe.experts.gate"), gate),
                largest(run_.state(0, "grad.layers.0.moe.router"), router))
    row("erc, noise none", 1, worst)


def compare_sparsity():
    """Sigma-MoE-Tiny (microsoft/ltp-megatron-lm): k by layer from a list, another list later; the loss divides by that k."""
    run_ = Routed({"score": {"kind": "softmax", "order": "pre"}, "normalize": False},
                  {"load_balance": {"weight": 0.3, "scope": "global"}}, moe={"top_k_per_layer": [2]}, silent=True,
                  changes={"sparser": {"at": {"steps": 4}, "top_k_per_layer": [1]}})
    worst = 0.0
    for step, micros in run_.steps():
        k, balance, slope, counts, tokens = 2 if step < 3 else 1, 0.0, 0, np.zeros(E), 0
        for x, logits, _ in micros:
            p = r.softmax(logits)
            counts, tokens = counts + r.mask_of(r.top_k(p, k), E).sum(0), tokens + len(x)
            value, dp = r.switch_loss(p, counts, tokens, k)
            balance += value / MICROS
            slope = slope + r.rms(x).T @ (0.3 * r.through_softmax(p, dp)) / MICROS
        worst = max(worst, largest(run_.state(step, "metric.load_balance"), balance),
                    largest(run_.state(step, "metric.expert_tokens"), counts),
                    largest(run_.state(step, "grad.layers.0.moe.router"), slope))
    row("late sparsity, load_balance global", ROUTED_STEPS, worst)


def main():
    parts = {"optimizers": [lambda s=s, c=c: compare_optimizers(s, c) for s, c in (("even", True), ("odd", True), ("odd", False))],
             "rates": [compare_rates], "switch": [lambda s=s: compare_switch(s) for s in ("micro", "global")],
             "deepseek": [compare_deepseek], "prices": [lambda k=k: compare_prices(k) for k in ("quantile", "bip", "sinkhorn")],
             "expert_choice": [compare_expert_choice], "erc": [compare_erc], "sparsity": [compare_sparsity]}
    if unknown := set(ONLY) - parts.keys():
        sys.exit(f"no part {', '.join(unknown)}; expected some of {', '.join(parts)}")

    def rows_of(part):
        RESULTS.rows = []
        part()
        return RESULTS.rows

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wanted = [part for name, some in parts.items() if not ONLY or name in ONLY for part in some]
        rows = [row for some in pool.map(rows_of, wanted) for row in some]
    print(f"{'method':<44}{'steps':>6}  largest difference")
    for method, steps, difference, _ in rows:
        print(f"{method:<44}{steps:>6}  {difference:.1e}")
    sys.exit("\n".join(f"{m}: {d:.1e} is not below {b:.0e}" for m, _, d, b in rows if not d < b) or None)


if __name__ == "__main__":
    main()
