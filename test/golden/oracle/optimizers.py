"""Independent float64 oracle of the optimizers: parameters after five updates with made-up gradients.

Plain numpy. Where the compiler multiplies matrices (Newton-Schulz), this takes singular value decompositions and applies the
scalar polynomial to the singular values, so the two share no algebra. `python optimizers.py` writes optimizers/*.safetensors;
`--check` compares with the files.

A case is optimizers/NAME.json, the section "optimizer" of optimizers/base.json. Weights are [in, out], stacks [experts, in, out].
"""
import json, math, os, re, sys
import numpy as np
import safetensors_lite

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "optimizers")
STEPS = 5


def parameter_shapes(spec):
    """Logical name -> shape of the decoder of base.json."""
    m, a, e = spec["model"], spec["model"]["attention"], spec["model"]["moe"]
    D, V, d, E, I = m["hidden_size"], m["vocab_size"], a["head_dim"], e["num_experts"], e["expert"]["inner_size"]
    q, k, J, F = a["num_heads"] * d, a["num_kv_heads"] * d, e["shared_experts"] * I, m["ffn"]["inner_size"]
    shapes = {"embed": (V, D), "final_norm.scale": (1, D), "head": (D, V)}
    for i in range(m["num_layers"]):
        p = f"layers.{i}."
        shapes |= {p + "attention.norm.scale": (1, D), p + "attention.q_norm.scale": (1, d), p + "attention.k_norm.scale": (1, d)}
        shapes |= {p + "attention.q": (D, q), p + "attention.k": (D, k), p + "attention.v": (D, k), p + "attention.o": (q, D)}
        if i < e["layers"]["from"]:
            shapes |= {p + "ffn.norm.scale": (1, D), p + "ffn.gate": (D, F), p + "ffn.up": (D, F), p + "ffn.down": (F, D)}
        else:
            p += "moe."
            shapes |= {p + "norm.scale": (1, D), p + "router": (D, E)}
            shapes |= {p + "experts.gate": (E, D, I), p + "experts.up": (E, D, I), p + "experts.down": (E, I, D)}
            shapes |= {p + "shared.gate": (D, J), p + "shared.up": (D, J), p + "shared.down": (J, D)}
    return shapes


def numbers(count, stream):
    """Numbers in [-1, 1) from a stream's number and their place alone: the C++ test makes the same (integers mod 2^64)."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(6364136223846793005)
        x += np.uint64(stream + 1) * np.uint64(1442695040888963407)
        for _ in range(2):
            x ^= x >> np.uint64(33)
            x *= np.uint64(0xFF51AFD7ED558CCD)
        x ^= x >> np.uint64(33)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1


def matches(pattern, name):
    text = re.sub(r"\{([^}]*)\}", lambda found: "(" + found[1].replace(",", "|") + ")", pattern.replace(".", r"\."))
    return re.fullmatch(text.replace("*", ".*"), name) is not None


DEFAULTS = {
    "adamw": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1},
    "muon": {"momentum": 0.95, "nesterov": True, "ns": {"steps": 5, "coefficients": "keller"}, "scale": "moonlight", "weight_decay": 0.1},
}


def settings_of(spec, name):
    """The first group that matches; what it does not give is /optimizer's when the kind is the same, else the default."""
    outer = spec["optimizer"]
    for group in outer.get("groups", {}).values():
        if any(matches(pattern, name) for pattern in group["match"]):
            kind = group.get("kind", outer["kind"])
            base = DEFAULTS[kind] | ({k: v for k, v in outer.items() if k in DEFAULTS[kind]} if kind == outer["kind"] else {})
            inner = {k: base[k] | v if isinstance(v, dict) else v for k, v in group.items()}
            return base | {"lr": outer["lr"]} | inner | {"kind": kind}
    return DEFAULTS[outer["kind"]] | outer


def learning_rate_factor(spec, step):
    """Linear warm-up, then a cosine to the floor; step: steps done before this one."""
    schedule = spec["optimizer"].get("schedule", {"kind": "constant"})
    warmup, total = schedule.get("warmup", {"steps": 0})["steps"], spec["duration"]["steps"]
    if step < warmup:
        return (step + 1) / warmup
    if schedule["kind"] == "constant":
        return 1.0
    floor = schedule.get("floor", 0.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def adamw(w, g, state, o, lr, t):
    b1, b2 = o["betas"]
    m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    return w - lr * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + o["eps"]) + o["weight_decay"] * w)


KELLER = [(3.4445, -4.7750, 2.0315)]
POLAR5 = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
          (2.8366, -3.0525, 1.2012)]


def orthogonalised(x, ns):
    """The singular vectors of x, with each singular value s / (||x||_F + 1e-7) taken through the polynomials a s + b s^3 + c s^5."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s = s / (np.sqrt((s * s).sum(-1, keepdims=True)) + 1e-7)
    table = KELLER if ns["coefficients"] == "keller" else POLAR5
    for i in range(ns["steps"]):
        a, b, c = table[min(i, len(table) - 1)]
        s = a * s + b * s**3 + c * s**5
    return (u * s[..., None, :]) @ vt


def momentum_of(g, state, o):
    beta = o["momentum"]
    m = state["m"] = beta * state.get("m", 0) + (1 - beta) * g
    return beta * m + (1 - beta) * g if o["nesterov"] else m


def muon(w, g, state, o, lr, t):
    """Jordan et al. 2024; moonlight: Liu et al. 2025 (arXiv 2502.16982)."""
    fan_in, fan_out = w.shape[-2:]
    scale = {"keller": max(1, fan_out / fan_in) ** 0.5, "spectral": (fan_out / fan_in) ** 0.5,
             "moonlight": 0.2 * max(fan_in, fan_out) ** 0.5, "none": 1.0}[o["scale"]]
    return w * (1 - lr * o["weight_decay"]) - lr * scale * orthogonalised(momentum_of(g, state, o), o["ns"])


RULES = {"adamw": adamw, "muon": muon}


def train(spec):
    shapes = parameter_shapes(spec)
    parameters, states = {}, {}
    for index, (name, shape) in enumerate(sorted(shapes.items())):
        values = numbers(math.prod(shape), 100 * index).reshape(shape)
        parameters[name] = 1 + 0.2 * values if name.endswith("scale") else 0.5 * values
        states[name] = {}
    for step in range(STEPS):
        gradients = {name: numbers(math.prod(shape), 100 * index + 1 + step).reshape(shape)
                     for index, (name, shape) in enumerate(sorted(shapes.items()))}
        norm = math.sqrt(sum((g * g).sum() for g in gradients.values()))
        clip = spec["optimizer"].get("clip_norm", 1.0)
        clip_factor = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
        for name in shapes:
            o = settings_of(spec, name)
            lr = o["lr"] * learning_rate_factor(spec, step)
            parameters[name] = RULES[o["kind"]](parameters[name], gradients[name] * clip_factor, states[name], o, lr, step + 1)
    return parameters


def main():
    with open(os.path.join(HERE, "base.json")) as f:
        base = json.load(f)
    for case in sorted(name[:-5] for name in os.listdir(HERE) if name.endswith(".json") and name != "base.json"):
        with open(os.path.join(HERE, case + ".json")) as f:
            tensors = train(base | {"optimizer": json.load(f)})
        path = os.path.join(HERE, case + ".safetensors")
        if "--check" not in sys.argv:
            safetensors_lite.write(path, tensors)
        stored = safetensors_lite.read(path)
        assert stored.keys() == tensors.keys(), f"{path} holds other tensors"
        worst = max((float(np.abs(stored[n] - tensors[n]).max()), n) for n in tensors)
        print(case, "largest difference to the file: %.1e in %s" % worst)
        assert worst[0] < 1e-11


if __name__ == "__main__":
    main()
