"""Independent float64 oracle of two small MoE models: loss, gradients and updated parameters of three training steps.

Shares nothing with the compiler but the spec files: a plain PyTorch program that runs every expert on every token and lets autograd
make the backward. `python oracle.py` writes case*.safetensors; `python oracle.py --check` compares with the files; self_check.py doubts this file.

Shapes: B sequences of a micro-batch, S positions, N = B*S tokens, D hidden, H query heads, G key heads, d head width, E experts, K chosen.
Linear weights are [in, out]; norm scales are [1, C]. Sources are named beside each formula.
"""
import fnmatch, json, math, os, sys
import numpy as np
import torch
import torch.nn.functional as F
import safetensors_lite

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = 3  # steps kept in the goldens


def parameter_shapes(spec):
    """Logical name -> shape, in the order of the model."""
    m, a, e = spec["model"], spec["model"]["attention"], spec["model"]["moe"]
    D, V, d = m["hidden_size"], m["vocab_size"], a["head_dim"]
    q, k = a["num_heads"] * d, a["num_kv_heads"] * d
    E, I, J = e["num_experts"], e["expert"]["inner_size"], e["shared_experts"] * e["expert"]["inner_size"]
    peri = m["norm"]["placement"] == "peri"
    shapes = {"embed": (V, D)}
    for i in range(m["num_layers"]):
        p = f"layers.{i}.attention."
        shapes |= {p + "norm.scale": (1, D), p + "q": (D, q), p + "k": (D, k), p + "v": (D, k), p + "o": (q, D)}
        if a["qk_norm"] != "none":
            head = a["qk_norm"] == "head"
            shapes |= {p + "q_norm.scale": (1, d if head else q), p + "k_norm.scale": (1, d if head else k)}
        if peri:
            shapes[p + "out_norm.scale"] = (1, D)
        moe = is_moe(spec, i)
        p = f"layers.{i}.moe." if moe else f"layers.{i}.ffn."
        shapes[p + "norm.scale"] = (1, D)
        if moe:
            shapes |= {p + "router": (D, E), p + "experts.gate": (E, D, I), p + "experts.up": (E, D, I), p + "experts.down": (E, I, D)}
            shapes |= {p + "shared.gate": (D, J), p + "shared.up": (D, J), p + "shared.down": (J, D)}
        else:
            F0 = m["ffn"]["inner_size"]
            shapes |= {p + "gate": (D, F0), p + "up": (D, F0), p + "down": (F0, D)}
        if peri:
            shapes[p + "out_norm.scale"] = (1, D)
    shapes["final_norm.scale"] = (1, D)
    if not m["tie_embeddings"]:
        shapes["head"] = (D, V)
    return shapes


def is_moe(spec, layer):
    where = spec["model"]["moe"]["layers"]
    return layer >= where["from"] and (layer - where["from"]) % where["every"] == 0


def initial_parameters(spec):
    """Not the compiler's own initialisation: numbers large enough that every term matters. Scales lie around 1."""
    rng = np.random.default_rng(1000 + spec["seed"])
    result = {}
    for name, shape in parameter_shapes(spec).items():
        values = rng.standard_normal(shape)
        if name.endswith("scale"):
            values = 1.0 + 0.2 * values
        elif name == "embed" or name.endswith("router"):
            values = 0.5 * values
        else:
            values = values / math.sqrt(shape[-2])
        result[name] = torch.tensor(values, dtype=torch.float64)
    return result


def rms_norm(x, scale, eps):
    """Zhang and Sennrich 2019: x / sqrt(mean(x^2) + eps) * scale over the last axis."""
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * scale


def swiglu(x, gate, up, down):
    """Shazeer 2020: (silu(x gate) * (x up)) down."""
    return (F.silu(x @ gate) * (x @ up)) @ down


def rope(x, theta):
    """Su et al. 2021, half-split layout: pair (x[i], x[i + d/2]) of a head turns by position * theta^(-2i/d). x: [B, S, heads, d]."""
    S, d = x.shape[1], x.shape[3]
    frequency = theta ** (-2.0 * torch.arange(d // 2, dtype=torch.float64) / d)
    angle = torch.arange(S, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos()[None, :, None, :], angle.sin()[None, :, None, :]
    x1, x2 = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1)


def attention(spec, p, prefix, x, B, S):
    """Causal softmax attention; query head h reads key head h // (H/G) (Ainslie et al. 2023). QK norm comes before rope."""
    a, eps = spec["model"]["attention"], spec["model"]["norm"]["eps"]
    H, G, d = a["num_heads"], a["num_kv_heads"], a["head_dim"]
    q, k, v = x @ p[prefix + "q"], x @ p[prefix + "k"], x @ p[prefix + "v"]
    if a["qk_norm"] == "full":  # over the whole projected width (OLMoE)
        q, k = rms_norm(q, p[prefix + "q_norm.scale"], eps), rms_norm(k, p[prefix + "k_norm.scale"], eps)
    q, k, v = q.view(B, S, H, d), k.view(B, S, G, d), v.view(B, S, G, d)
    if a["qk_norm"] == "head":  # over each head, one scale for all heads (Qwen3)
        q, k = rms_norm(q, p[prefix + "q_norm.scale"], eps), rms_norm(k, p[prefix + "k_norm.scale"], eps)
    q, k = rope(q, a["rope"]["theta"]), rope(k, a["rope"]["theta"])
    k, v = k.repeat_interleave(H // G, 2), v.repeat_interleave(H // G, 2)
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(d)
    future = torch.ones(S, S, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, -math.inf).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", weights, v).reshape(B * S, H * d) @ p[prefix + "o"]


def top_k(scores, k):
    """Ids of the k largest of each row, largest first; ties go to the lowest index. Also the smallest gap between rank k and k + 1."""
    ordered, ids = torch.sort(scores.detach(), dim=-1, descending=True, stable=True)
    gap = (ordered[:, k - 1] - ordered[:, k]).min().item() if k < scores.shape[1] else math.inf
    return ids[:, :k], gap


def route(logits, k, score, normalize, scale):
    """Scores [N, E], ids [N, K], combine weights [N, E] (0 where not chosen), smallest gap of the choice.

    softmax, normalize false: probabilities over all experts as they are (Switch, OLMoE). normalize true: divided by the sum of the chosen.
    sigmoid: chosen scores / (their sum + 1e-20) (DeepSeek-V3). All times `scale`. The choice itself carries no gradient.
    """
    scores = logits.sigmoid() if score == "sigmoid" else logits.softmax(-1)
    ids, gap = top_k(scores, k)
    chosen = torch.zeros_like(scores).scatter(1, ids, 1.0)
    weights = scores * chosen
    if normalize and k > 1:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return scores, ids, weights * scale, gap


def load_balance(scores, ids, groups):
    """Switch (Fedus et al. 2021): E * sum_e f_e P_e over each of `groups` equal runs of tokens, averaged over them.

    f_e: share of the (token, slot) pairs on expert e, no gradient. P_e: mean score, each token's scores first divided by their sum.
    groups = 1: the micro-batch; groups = sequences: per sequence (DeepSeek-V3's scope).
    """
    N, E = scores.shape
    P = (scores / (scores.sum(-1, keepdim=True) + 1e-20)).view(groups, N // groups, E).mean(1)
    f = F.one_hot(ids, E).sum(1).to(torch.float64).view(groups, N // groups, E).mean(1) / ids.shape[1]
    return E * (f * P).sum(-1).mean()


def router_z(logits):
    """ST-MoE (Zoph et al. 2022): mean over tokens of logsumexp(logits)^2."""
    return logits.logsumexp(-1).square().mean()


def moe(spec, p, prefix, x):
    """sum over chosen e of w_e FFN_e(x) + FFN_shared(x); the shared experts are one ungated FFN of their joined width."""
    e, r = spec["model"]["moe"], spec["model"]["router"]
    logits = x @ p[prefix + "router"]
    scores, ids, weights, gap = route(logits, e["top_k"], r["score"], r["normalize"], r["scale"])
    y = swiglu(x, p[prefix + "shared.gate"], p[prefix + "shared.up"], p[prefix + "shared.down"])
    for i in range(e["num_experts"]):
        expert = [p[prefix + "experts." + part][i] for part in ("gate", "up", "down")]
        y = y + weights[:, i : i + 1] * swiglu(x, *expert)
    return y, {"logits": logits, "scores": scores, "ids": ids, "gap": gap}


def forward(spec, p, tokens):
    """One micro-batch, tokens [B, S+1]. `total` is what is differentiated: `loss` (mean cross-entropy) + weight * sum over MoE layers of each
    router loss. `load_balance` and `router_z` are reported unweighted, as means over the MoE layers.
    """
    m = spec["model"]
    eps, peri = m["norm"]["eps"], m["norm"]["placement"] == "peri"
    B, S = tokens.shape[0], tokens.shape[1] - 1
    routings = []

    def block(prefix, function, x):  # Peri-LN (Kim et al. 2025): x + norm_out(F(norm_in(x)))
        y = function(rms_norm(x, p[prefix + "norm.scale"], eps))
        return x + (rms_norm(y, p[prefix + "out_norm.scale"], eps) if peri else y)

    def experts(prefix, x):
        y, routing = moe(spec, p, prefix, x)
        routings.append(routing)
        return y

    x = p["embed"][tokens[:, :-1].reshape(-1)]
    for i in range(m["num_layers"]):
        prefix = f"layers.{i}."
        x = block(prefix + "attention.", lambda h: attention(spec, p, prefix + "attention.", h, B, S), x)
        if is_moe(spec, i):
            x = block(prefix + "moe.", lambda h: experts(prefix + "moe.", h), x)
        else:
            x = block(prefix + "ffn.", lambda h: swiglu(h, *(p[prefix + "ffn." + n] for n in ("gate", "up", "down"))), x)
    x = rms_norm(x, p["final_norm.scale"], eps)
    logits = x @ (p["embed"].T if m["tie_embeddings"] else p["head"])
    entropy = F.cross_entropy(logits, tokens[:, 1:].reshape(-1))
    scope = spec["losses"]["load_balance"]["scope"]
    balance = [load_balance(r["scores"], r["ids"], B if scope == "sequence" else 1) for r in routings]
    z = [router_z(r["logits"]) for r in routings]
    total = entropy + spec["losses"]["load_balance"]["weight"] * sum(balance) + spec["losses"]["router_z"]["weight"] * sum(z)
    E = m["moe"]["num_experts"]
    return {"total": total, "loss": entropy, "load_balance": sum(balance) / len(balance), "router_z": sum(z) / len(z),
            "logits": logits, "gap": min(r["gap"] for r in routings),
            "expert_tokens": torch.stack([torch.bincount(r["ids"].reshape(-1), minlength=E) for r in routings])}


def learning_rate(spec, step):
    """step: steps done before this one. Linear warm-up over W steps, then cosine (Loshchilov and Hutter 2016) from 1 to the floor."""
    o = spec["optimizer"]
    W, floor, total = o["schedule"]["warmup"]["steps"], o["schedule"]["floor"], spec["duration"]["steps"]
    if step < W:
        return o["lr"] * (step + 1) / W
    return o["lr"] * (floor + (1 - floor) * (1 + math.cos(math.pi * (step - W) / (total - W))) / 2)


def adamw(spec, p, gradients, moments, step, lr, factor):
    """Loshchilov and Hutter 2019; decay is multiplied by lr. The first group that matches a name sets its weight decay."""
    o = spec["optimizer"]
    b1, b2 = o["betas"]
    for name, w in p.items():
        decay = o["weight_decay"]
        for group in o["groups"].values():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in group["match"]):
                decay = group["weight_decay"]
                break
        g, (m, v) = gradients[name] * factor, moments[name]
        m.mul_(b1).add_((1 - b1) * g)
        v.mul_(b2).add_((1 - b2) * g * g)
        m_hat, v_hat = m / (1 - b1 ** (step + 1)), v / (1 - b2 ** (step + 1))
        w -= lr * (m_hat / (v_hat.sqrt() + o["eps"]) + decay * w)


def gradients_of(value, p):
    return dict(zip(p, torch.autograd.grad(value, list(p.values()))))


def micro_batches(spec, text, step):
    """Sequence n of the run is the S + 1 bytes of the text from n * S on. (The tests load these tokens; the data reader plays no part.)"""
    S, B, count = spec["data"]["seq_len"], spec["batch"]["micro_sequences"], spec["batch"]["sequences"]
    first = range(step * count, (step + 1) * count)
    rows = torch.tensor([list(text[n * S : n * S + S + 1]) for n in first])
    return rows.view(count // B, B, S + 1)


def train(spec, text):
    """All tensors of one golden file, by name, in the order of the run."""
    p = initial_parameters(spec)
    moments = {n: (torch.zeros_like(w), torch.zeros_like(w)) for n, w in p.items()}
    out = {"param0." + n: w.clone() for n, w in p.items()}
    for step in range(STEPS):
        total = {}
        batches = micro_batches(spec, text, step)
        for micro, tokens in enumerate(batches):
            leaves = {n: w.clone().requires_grad_() for n, w in p.items()}
            parts = forward(spec, leaves, tokens)
            assert parts["gap"] > 1e-6, f"step {step}: two experts are only {parts['gap']:.1e} apart; choose another seed"
            parts |= {"grad." + n: g for n, g in gradients_of(parts["total"], leaves).items()}
            out[f"tokens.{step}.{micro}"] = tokens.to(torch.int32)
            for n, value in parts.items():
                if n == "logits" and step == 0 and micro == 0:
                    out["logits0"] = value.detach()
                if n not in ("logits", "gap"):  # floats are means over the micro-batches, counts are sums
                    total[n] = total.get(n, 0) + (value.detach() if n == "expert_tokens" else value.detach() / len(batches))
        gradients = {n[5:]: g for n, g in total.items() if n.startswith("grad.")}
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients.values()))
        lr, clip = learning_rate(spec, step), spec["optimizer"]["clip_norm"]
        adamw(spec, p, gradients, moments, step, lr, min(1.0, clip / (norm + 1e-6)))
        out |= {f"grad.{step}.{n}": g for n, g in gradients.items()}
        out |= {f"param.{step}.{n}": w.clone() for n, w in p.items()}
        scalars = {n: total[n] for n in ("loss", "total", "load_balance", "router_z")} | {"grad_norm": norm, "lr": lr}
        out |= {f"{n}.{step}": torch.tensor([[float(v)]], dtype=torch.float64) for n, v in scalars.items()}
        out[f"expert_tokens.{step}"] = total["expert_tokens"]
    return {n: v.numpy() for n, v in out.items()}


def load_case(name):
    with open(os.path.join(HERE, name + ".json")) as f:
        spec = json.load(f)
    with open(os.path.join(HERE, spec["data"]["train"]["text"]["path"]), "rb") as f:
        return spec, f.read()


def main():
    torch.set_num_threads(1)
    for case in ("case1", "case2"):
        tensors, path = train(*load_case(case)), os.path.join(HERE, case + ".safetensors")
        for step in range(STEPS):
            print(case, f"step {step}:", ", ".join(f"{n} {tensors[f'{n}.{step}'].item():.12f}" for n in
                                                   ("loss", "total", "load_balance", "router_z", "grad_norm", "lr")))
        if "--check" not in sys.argv:
            safetensors_lite.write(path, tensors)
            continue
        stored = safetensors_lite.read(path)
        assert stored.keys() == tensors.keys(), f"{path} holds other tensors"
        worst = max((float(np.abs(stored[n] - tensors[n]).max()), n) for n in tensors)
        print(case, "largest difference to the file: %.1e in %s" % worst)
        assert worst[0] < 1e-11


if __name__ == "__main__":
    main()
