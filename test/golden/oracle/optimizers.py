"""Independent float64 oracle of the optimizers: parameters after five updates with made-up gradients.

Plain numpy. Where the compiler multiplies matrices (Newton-Schulz), this takes singular value decompositions and applies the
scalar polynomial to the singular values, so the two share no algebra. `python optimizers.py` writes optimizers/*.safetensors;
`--check` compares with the files.

A case is NAME.json, the section "optimizer" of base.json beside it: in optimizers/ sides are 6, 10, 12 and 20, in
optimizers/tiles/ they are multiples of the row tiles of every CPU target: 8, 16 and 32. Weights are [in, out], stacks [experts, in, out].
"""
import glob, json, math, os, re, sys
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
    def words(found):
        first, dots, last = found[1].partition("..")
        return "(" + ("|".join(map(str, range(int(first), int(last) + 1))) if dots else found[1].replace(",", "|")) + ")"

    text = re.sub(r"\{([^}]*)\}", words, pattern).replace(".", r"\.")
    return re.fullmatch(text.replace("*", ".*"), name) is not None


DEFAULTS = {
    "adamw": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1},
    "muon": {"momentum": 0.95, "nesterov": True, "ns": {"steps": 5, "coefficients": "keller"}, "scale": "moonlight", "weight_decay": 0.1,
             "lite": {"beta1": 0, "beta2": 0, "chi": 1, "chi_schedule": "constant", "sharp_fraction": 0.1}},
    "muonh": {"momentum": 0.95, "nesterov": True, "ns": {"steps": 5, "coefficients": "polar5"}},
    "adamh": {"betas": [0.9, 0.95], "eps": 1e-8},
    "adamw_lite": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "chi": 4, "chi_schedule": "constant",
                   "sharp_fraction": 0.1, "smooth": 0.1},
    "soap": {"betas": [0.95, 0.95], "eps": 1e-8, "weight_decay": 0.01, "every": 10, "max_side": 10000,
             "lite": {"beta1": 0, "beta2": 0, "chi": 1, "chi_schedule": "constant", "sharp_fraction": 0.1, "smooth": 0.1}},
    "galore": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0, "rank": 128, "every": 200, "scale": 0.25},
}


def settings_of(spec, name):
    """The first group that matches; what it does not give is /optimizer's when the kind is the same, else the default."""
    outer = spec["optimizer"]
    for group in outer.get("groups", {}).values():
        if any(matches(pattern, name) for pattern in group["match"]):
            kind = group.get("kind", outer["kind"])
            base = DEFAULTS[kind] | ({k: v for k, v in outer.items() if k in DEFAULTS[kind]} if kind == outer["kind"] else {})
            inner = {k: base[k] | v if isinstance(v, dict) and k in base else v for k, v in group.items()}
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
    floor, r = schedule.get("floor", 0.0), (step - warmup) / (total - warmup)
    return floor + (1 - floor) * (1 - r if schedule["kind"] == "linear" else (1 + math.cos(math.pi * r)) / 2)


def root_of(v, o, t):
    """Where the code corrects the rate instead of the moments, eps stands beside the root of v as it is."""
    correction = 1 - o["betas"][1] ** t
    if o["kind"] in ("soap", "galore", "adamw_lite"):
        return (np.sqrt(v) + o["eps"]) / np.sqrt(correction)
    return np.sqrt(v / correction) + o["eps"]


def adam_direction(g, state, o, t):
    b1, b2 = o["betas"]
    m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    return m / (1 - b1**t) / root_of(v, o, t)


def adamw(w, g, state, o, lr, t):
    return w - lr * (adam_direction(g, state, o, t) + o["weight_decay"] * w)


KELLER = [(3.4445, -4.7750, 2.0315)]
POLAR5 = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
          (2.8366, -3.0525, 1.2012)]
# Amsel et al. 2025 (Polar Express), table of the paper's code.
EXPRESS = [(8.28721201814563, -23.595886519098837, 17.300387312530933), (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
           (3.9486908534822946, -2.908902115962949, 0.5518191394370137), (3.3184196573706015, -2.488488024314874, 0.51004894012372),
           (2.300652019954817, -1.6689039845747493, 0.4188073119525673), (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
           (1.8750014808534479, -1.2500016453999487, 0.3750001645474248), (1.875, -1.25, 0.375)]


EPS = {"keller": 1e-7, "polar5": 1e-8, "polar_express": 1e-8 / 1.01}


def share_of(o):
    """What momentum_of is of the momentum to whose norm the source adds its eps: Dion and Moonlight sum gradients, LITE
    adds (1 / momentum - 1) g to their mean."""
    if o["ns"]["coefficients"] == "polar_express":
        return o["momentum"] if o["nesterov"] else 1
    sums = o["ns"]["coefficients"] == "polar5" or o.get("scale") == "moonlight"
    return 1 - o["momentum"] if sums else 1


def polynomials(s, ns, share=1):
    """Singular values [..., rank], signs allowed, over their norm + eps, through the polynomials a s + b s^3 + c s^5."""
    eps = EPS[ns["coefficients"]] * share
    s = s / (np.sqrt((s * s).sum(-1, keepdims=True)) + eps) / (1.01 if ns["coefficients"] == "polar_express" else 1)
    table = {"keller": KELLER, "polar5": POLAR5, "polar_express": EXPRESS}[ns["coefficients"]]
    for i in range(ns["steps"]):
        a, b, c = table[min(i, len(table) - 1)]
        if ns["coefficients"] == "polar_express" and i < len(table) - 1:
            a, b, c = a / 1.01, b / 1.01**3, c / 1.01**5
        s = a * s + b * s**3 + c * s**5
    return s


def orthogonalised(x, ns, share=1):
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return (u * polynomials(s, ns, share)[..., None, :]) @ vt


def momentum_of(g, state, o):
    beta = o["momentum"]
    m = state["m"] = beta * state.get("m", 0) + (1 - beta) * g
    return beta * m + (1 - beta) * g if o["nesterov"] else m


def muon(w, g, state, o, lr, t):
    """Jordan et al. 2024; moonlight: Liu et al. 2025 (arXiv 2502.16982)."""
    fan_in, fan_out = w.shape[-2:]
    scale = {"keller": max(1, fan_out / fan_in) ** 0.5, "spectral": (fan_out / fan_in) ** 0.5,
             "moonlight": 0.2 * max(fan_in, fan_out) ** 0.5, "none": 1.0}[o["scale"]]
    u, lite, decay = momentum_of(g, state, o), o["lite"], o["weight_decay"]
    direction = orthogonalised(u, o["ns"], share_of(o))
    if lite == DEFAULTS["muon"]["lite"]:
        return w * (1 - lr * decay) - lr * scale * direction
    flat, chi, ramp = flat_projector(u, state, o), chi_of(lite, o["run"], t - 1), ramp_of(lite, o["run"], t - 1)
    own = orthogonalised(g, o["ns"])
    direction = direction + lite["beta1"] * own + ramp * (lite["beta2"] - lite["beta1"]) * (flat @ own)
    direction = direction + (chi - 1) * (flat @ direction)
    return w * (1 - lr * decay) - lr * decay * (chi - 1) * (flat @ w) - lr * scale * direction


def flat_projector(u, state, o):
    """LITE: I - V V^T with V the left singular vectors (fan-in) of the singular values above rho ||u||_F, as Newton-Schulz tells
    them apart; rho is then moved so that k of them are above."""
    fan_in, fan_out = u.shape[-2:]
    rank = min(fan_in, fan_out)
    k = min(int(o["lite"]["sharp_fraction"] * rank) + 1, rank - 1)
    rho = state.setdefault("rho", np.full(u.shape[:-2] + (1,), rank**-0.5))
    left, s, _ = np.linalg.svd(u, full_matrices=False)
    ones = polynomials(s, o["ns"], share_of(o))
    threshold = rho * np.sqrt((s * s).sum(-1, keepdims=True)) + 1e-9 * share_of(o)
    sharp = (ones + polynomials(s / threshold - ones, o["ns"])) / 2
    state["rho"] = np.minimum(1, rho * np.where((sharp * sharp).sum(-1, keepdims=True) > k, 1.05, 0.95))
    return np.eye(fan_in) - (left * (sharp * sharp)[..., None, :]) @ left.swapaxes(-1, -2)


def ramp_of(lite, run, step):
    rest = run["total"] - run["warmup"]
    own = min(2 * run["warmup"] * rest // run["total"], rest) if run["stays"] else rest // 2
    length = lite.get("ramp", {"steps": own})["steps"]
    if length == 0:
        return float(step >= run["warmup"])
    return min(1, max(0, (step - run["warmup"]) / length))


def chi_of(lite, run, step):
    """floor: from chi * lr the flat rate falls by the schedule's own shape c to the floor that lr falls to."""
    chi, r0 = lite["chi"], run["floor"]
    if lite["chi_schedule"] == "constant":
        return chi
    if step < run["warmup"]:
        return chi if lite["chi_schedule"] == "floor" else 1
    c = (run["factor"](step) - r0) / (1 - r0)
    falling = (r0 + (chi - r0) * c) / (r0 + (1 - r0) * c)
    return falling if lite["chi_schedule"] == "floor" else min(falling, 1 + ramp_of(lite, run, step) * (chi - 1))


def adamw_lite(w, g, state, o, lr, t):
    """LITE's part for parameters without singular directions: elements of large v are sharp."""
    direction = adam_direction(g, state, o, t)
    mask = sharp_mask(state["v"], state, o)
    return w - lr * (1 + (chi_of(o, o["run"], t - 1) - 1) * (1 - mask)) * (direction + o["weight_decay"] * w)


def sharp_mask(v, state, o):
    if o["sharp_fraction"] in (0, 1):
        return float(o["sharp_fraction"])
    high, low = state.get("high", 1.0), state.get("low", 0.5)
    mean = v.mean((-2, -1), keepdims=True)
    mask = np.where(v >= high * mean, 1, np.clip((v - low * mean) / ((high - low) * mean), 0, 1))
    share = lambda bound: (v >= bound * mean).mean((-2, -1), keepdims=True)
    state["high"] = high * np.where(share(high) > o["sharp_fraction"], 1.05, 0.95)
    smooth = min(o["smooth"], 1 - o["sharp_fraction"])
    state["low"] = np.minimum(low * np.where(share(low) > o["sharp_fraction"] + smooth, 1.05, 0.95), 0.95 * state["high"])
    return mask


def transposed(x):
    return x.swapaxes(-1, -2)


def eigenvectors(x):
    return np.linalg.eigh(x)[1][..., ::-1]


def orthogonal_factor(x):
    """Q of x = Q R with R's diagonal positive."""
    q, r = np.linalg.qr(x)
    return q * np.sign(np.einsum("...ii->...i", r))[..., None, :]


def soap(w, g, state, o, lr, t):
    """Vyas et al. 2024 (arXiv 2409.11321) as its code does it: the first step makes the bases and nothing else; bases come behind
    the update; m lies in the bases and is turned when they are."""
    p, q = g.shape[-2:]
    unit = lambda n: np.broadcast_to(np.eye(n), g.shape[:-2] + (n, n))
    has = [p > 1 and p <= o["max_side"], p > 1 and q <= o["max_side"]]
    L, R = state.get("bases", (unit(p), unit(q)))
    if t > 1:
        turned = transposed(L) @ g @ R
        direction = adam_direction(turned, state, o, t - 1)
        lite = o["lite"]
        if lite != DEFAULTS["soap"]["lite"]:
            flat = 1 - sharp_mask(state["v"], state, lite)
            weight = lite["beta1"] + flat * ramp_of(lite, o["run"], t - 1) * (lite["beta2"] - lite["beta1"])
            direction = direction + weight * turned / root_of(state["v"], o, t - 1)
            direction = direction * (1 + (chi_of(lite, o["run"], t - 1) - 1) * flat)
        w = (w - lr * (L @ direction @ transposed(R))) * (1 - lr * o["weight_decay"])
    f = o.get("factor_beta", o["betas"][1])
    squares = (g @ transposed(g), transposed(g) @ g)
    factors = state["factors"] = [f * old + (1 - f) * new for old, new in zip(state.get("factors", (0, 0)), squares)]
    if t == 1:
        state["bases"] = tuple(eigenvectors(factor) if yes else basis for factor, yes, basis in zip(factors, has, (L, R)))
    elif (t - 1) % o["every"] == 0:
        away, bases = L @ state["m"] @ transposed(R), []
        for axis, (factor, yes, basis) in enumerate(zip(factors, has, (L, R))):
            if yes:
                sizes = np.einsum("...ji,...jk,...ki->...i", basis, factor, basis)
                order = np.argsort(-sizes, axis=-1, kind="stable")
                basis = orthogonal_factor(factor @ np.take_along_axis(basis, order[..., None, :], -1))
                index = order[..., :, None] if axis == 0 else order[..., None, :]
                state["v"] = np.take_along_axis(state["v"], index, -2 + axis)
            bases.append(basis)
        state["bases"] = tuple(bases)
        state["m"] = transposed(bases[0]) @ away @ bases[1]
    return w


def galore(w, g, state, o, lr, t):
    """Zhao et al. 2024 (arXiv 2403.03507): the singular vectors of the current gradient on its shorter side. Each points to the side of
    the one that it replaces."""
    short = g.shape[-2] <= g.shape[-1]
    x = g if short else transposed(g)
    rank = min(o["rank"], x.shape[-2])
    if (t - 1) % o["every"] == 0:
        basis = np.linalg.svd(x, full_matrices=False)[0][..., :rank]
        along = (basis * state.get("basis", 0)).sum(-2, keepdims=True)
        state["basis"] = np.where(along < 0, -basis, basis)
    basis = state["basis"]
    u = o["scale"] * (basis @ adam_direction(transposed(basis) @ x, state, o, t))
    return (w - lr * (u if short else transposed(u))) * (1 - lr * o["weight_decay"])


def on_sphere(w, u, lr):
    """HyperP (arXiv 2603.28743): a step of length lr ||W||, then back to the norm of W; each matrix of a stack by itself."""
    norm = lambda x: np.sqrt((x * x).sum((-2, -1), keepdims=True))
    moved = w - lr * norm(w) * u / norm(u)
    return norm(w) * moved / norm(moved)


def muonh(w, g, state, o, lr, t):
    return on_sphere(w, orthogonalised(momentum_of(g, state, o), o["ns"], share_of(o)), lr)


def adamh(w, g, state, o, lr, t):
    return on_sphere(w, adam_direction(g, state, o, t), lr)


RULES = {"adamw": adamw, "muon": muon, "muonh": muonh, "adamh": adamh, "adamw_lite": adamw_lite,
         "soap": soap, "galore": galore}


def train(spec):
    shapes = parameter_shapes(spec)
    parameters, states = {}, {}
    schedule = spec["optimizer"].get("schedule", {"kind": "constant"})
    run = {"total": spec["duration"]["steps"], "warmup": schedule.get("warmup", {"steps": 0})["steps"],
           "stays": schedule.get("kind") in ("wsd", "constant"), "floor": schedule.get("floor", 0.0), "factor": lambda step: learning_rate_factor(spec, step)}
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
            o = settings_of(spec, name) | {"run": run}
            lr = o["lr"] * learning_rate_factor(spec, step)
            parameters[name] = RULES[o["kind"]](parameters[name], gradients[name] * clip_factor, states[name], o, lr, step + 1)
    return parameters


def main():
    for path in sorted(glob.glob(os.path.join(HERE, "**", "*.json"), recursive=True)):
        if os.path.basename(path) == "base.json":
            continue
        case = os.path.relpath(path, HERE).removesuffix(".json")
        with open(os.path.join(os.path.dirname(path), "base.json")) as f:
            base = json.load(f)
        with open(path) as f:
            tensors = train(base | {"optimizer": json.load(f)})
        path = path.removesuffix(".json") + ".safetensors"
        if "--check" not in sys.argv:
            safetensors_lite.write(path, tensors)
        stored = safetensors_lite.read(path)
        assert stored.keys() == tensors.keys(), f"{path} holds other tensors"
        worst = max((float(np.abs(stored[n] - tensors[n]).max()), n) for n in tensors)
        print(case, "largest difference to the file: %.1e in %s" % worst)
        assert worst[0] < 1e-11


if __name__ == "__main__":
    main()
