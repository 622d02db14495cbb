"""Doubts the oracle: its gradients against central differences, its routing against what must hold for any router, its rope and attention
against loops, its AdamW against PyTorch's. Run by hand: `python self_check.py`.
"""
import math
import torch
import oracle

torch.set_num_threads(1)
EXPERTS, TOKENS, WIDTH = 6, 11, 8


def check_gradients(case, entries=2, h=1e-5):
    """d total / d w for random entries of every parameter; no top-k decision is near enough to flip (asserted by the oracle)."""
    spec, text = oracle.load_case(case)
    tokens = oracle.micro_batches(spec, text, 0)[0]
    p = {n: w.requires_grad_() for n, w in oracle.initial_parameters(spec).items()}
    gradients = oracle.gradients_of(oracle.forward(spec, p, tokens)["total"], p)
    generator, worst = torch.Generator().manual_seed(5), 0.0
    with torch.no_grad():
        for name, w in p.items():
            flat = w.view(-1)
            candidates = gradients[name].view(-1).nonzero().view(-1)  # rows of unused tokens would say nothing
            for i in candidates[torch.randperm(len(candidates), generator=generator)[:entries]]:
                old, values = flat[i].item(), []
                for shift in (h, -h):
                    flat[i] = old + shift
                    values.append(oracle.forward(spec, p, tokens)["total"].item())
                flat[i] = old
                slope, exact = (values[0] - values[1]) / (2 * h), gradients[name].view(-1)[i].item()
                error = abs(slope - exact) / max(abs(exact), 1e-3)
                worst = max(worst, error)
                assert error < 1e-6, f"{case} {name}[{i}]: difference {slope}, gradient {exact}"
    print(case, f"gradients agree with central differences: worst relative error {worst:.1e} over {entries * len(p)} entries")


def check_routing():
    torch.manual_seed(3)
    logits = torch.randn(TOKENS, EXPERTS, dtype=torch.float64)
    raw, ids, pre, _ = oracle.route(logits, 2, "softmax", False, 1.0)
    chosen = logits.gather(1, ids)
    post = torch.zeros_like(logits).scatter(1, ids, chosen.softmax(-1))
    assert torch.allclose(oracle.route(logits, 2, "softmax", True, 1.0)[2], post, atol=1e-12)  # pre, normalised == softmax over the chosen
    assert torch.allclose(pre, raw * (post > 0)) and (pre.sum(-1) < 1).all()
    for score in ("softmax", "sigmoid"):
        weights = oracle.route(logits, 3, score, True, 1.7)[2]
        assert torch.allclose(weights.sum(-1), torch.full((TOKENS,), 1.7, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(oracle.route(logits, EXPERTS, "softmax", True, 1.0)[2], logits.softmax(-1))  # K = E: a dense mixture
    ties = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0, 1.0]], dtype=torch.float64)
    assert oracle.top_k(ties, 5)[0].tolist() == [[1, 2, 3, 0, 5]]  # lowest index first

    # Experts that are all alike, under weights of sum 1, are one dense FFN.
    x, gate, up, down = (torch.randn(*s, dtype=torch.float64) for s in ((TOKENS, WIDTH), (WIDTH, 5), (WIDTH, 5), (5, WIDTH)))
    dense = oracle.swiglu(x, gate, up, down)
    p = {"experts.gate": gate.expand(EXPERTS, -1, -1), "experts.up": up.expand(EXPERTS, -1, -1), "experts.down": down.expand(EXPERTS, -1, -1),
         "shared.gate": gate, "shared.up": up, "shared.down": 0 * down, "router": torch.randn(WIDTH, EXPERTS, dtype=torch.float64)}
    spec = {"model": {"moe": {"num_experts": EXPERTS, "top_k": 2}, "router": {"score": "sigmoid", "normalize": True, "scale": 1.0}}}
    assert torch.allclose(oracle.moe(spec, p, "", x)[0], dense, atol=1e-12)

    # Balance loss: 1 when P is uniform, E when everything is on one expert, and equal to a plain loop.
    uniform = torch.ones(TOKENS, EXPERTS, dtype=torch.float64)
    assert abs(oracle.load_balance(uniform, ids, 1).item() - 1) < 1e-12
    one = torch.zeros_like(uniform).index_fill(1, torch.tensor([2]), 1.0)
    assert abs(oracle.load_balance(one, torch.full((TOKENS, 1), 2), 1).item() - EXPERTS) < 1e-12
    scores, expected = logits.sigmoid()[:10], 0.0
    for s in (0, 5):
        for e in range(EXPERTS):
            f = sum((ids[t] == e).sum().item() for t in range(s, s + 5)) / 10
            expected += EXPERTS * f * sum(scores[t, e].item() / scores[t].sum().item() for t in range(s, s + 5)) / 5 / 2
    assert abs(oracle.load_balance(scores, ids[:10], 2).item() - expected) < 1e-12
    z = sum(math.log(sum(math.exp(v) for v in row)) ** 2 for row in logits.tolist()) / TOKENS
    assert abs(oracle.router_z(logits).item() - z) < 1e-12
    print("routing: weights, ties, identical experts, balance and z losses hold")


def check_attention():
    """A loop over query positions, with rope as rotation of complex numbers; 2 sequences do not see each other."""
    torch.manual_seed(4)
    B, S, D, H, G, d, theta, eps = 2, 5, 8, 4, 2, 6, 100.0, 1e-5
    spec = {"model": {"norm": {"eps": eps},
                      "attention": {"num_heads": H, "num_kv_heads": G, "head_dim": d, "rope": {"theta": theta}, "qk_norm": "head"}}}
    shapes = {"q": (D, H * d), "k": (D, G * d), "v": (D, G * d), "o": (H * d, D), "q_norm.scale": (1, d), "k_norm.scale": (1, d)}
    p = {n: torch.randn(*s, dtype=torch.float64) for n, s in shapes.items()}
    x = torch.randn(B * S, D, dtype=torch.float64)

    def turned(row, position, scale):
        row = row / math.sqrt((row @ row).item() / d + eps) * scale[0]
        z = torch.complex(row[: d // 2], row[d // 2 :])
        angle = position * torch.tensor([theta ** (-2 * i / d) for i in range(d // 2)], dtype=torch.float64)
        z = z * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([z.real, z.imag])

    result = torch.zeros(B * S, H * d, dtype=torch.float64)
    for n in range(B * S):
        for h in range(H):
            part = slice(h // (H // G) * d, (h // (H // G) + 1) * d)
            seen = range(n // S * S, n + 1)
            q = turned((x[n] @ p["q"])[h * d : (h + 1) * d], n % S, p["q_norm.scale"])
            keys = torch.stack([turned((x[j] @ p["k"])[part], j % S, p["k_norm.scale"]) for j in seen])
            weights = (keys @ q / math.sqrt(d)).softmax(0)
            result[n, h * d : (h + 1) * d] = weights @ torch.stack([(x[j] @ p["v"])[part] for j in seen])
    assert torch.allclose(oracle.attention(spec, p, "", x, B, S), result @ p["o"], atol=1e-12)
    print("attention and rope agree with a loop")


def check_optimizer():
    """torch.optim.AdamW multiplies by 1 - lr * decay first, which is the same to rounding."""
    torch.manual_seed(6)
    spec, _ = oracle.load_case("case1")
    start = {"head": torch.randn(3, 4, dtype=torch.float64), "final_norm.scale": torch.randn(1, 4, dtype=torch.float64)}
    ours = {n: w.clone() for n, w in start.items()}
    moments = {n: (torch.zeros_like(w), torch.zeros_like(w)) for n, w in ours.items()}
    theirs = {n: w.clone().requires_grad_() for n, w in start.items()}
    groups = [{"params": [theirs["head"]], "weight_decay": 0.1}, {"params": [theirs["final_norm.scale"]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    for step in range(3):
        gradients = {n: torch.randn_like(w) for n, w in ours.items()}
        for group in optimizer.param_groups:
            group["lr"] = oracle.learning_rate(spec, step)
        for n, w in theirs.items():
            w.grad = 0.3 * gradients[n]
        optimizer.step()
        oracle.adamw(spec, ours, gradients, moments, step, oracle.learning_rate(spec, step), 0.3)
    assert all(torch.allclose(ours[n], theirs[n].detach(), atol=1e-13) for n in ours)
    assert [round(oracle.learning_rate(spec, s), 12) for s in range(3)] == [0.01, 0.01, 0.0055]
    print("AdamW agrees with PyTorch's; the schedule has its end points")


if __name__ == "__main__":
    check_routing()
    check_attention()
    check_optimizer()
    check_gradients("case1")
    check_gradients("case2")
