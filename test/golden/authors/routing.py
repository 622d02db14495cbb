"""Routing, balancing and their losses from published code and definitions, written anew in float64 numpy. One layer whose
attention adds nothing, so that the router's input is the normed embedding of the token.
"""
import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rms(x, eps=1e-5):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def top_k(x, k):
    return np.argsort(-x, axis=-1, kind="stable")[:, :k]


def mask_of(ids, experts):
    mask = np.zeros((len(ids), experts))
    np.put_along_axis(mask, ids, 1, 1)
    return mask


def switch_loss(scores, counts, tokens, k):
    """Megatron-LM moe_utils.switch_load_balancing_loss_func with coefficient 1: (value, gradient of the scores)."""
    experts = scores.shape[1]
    scale = experts / (k * len(scores) * tokens)
    return (scores.sum(0) * counts).sum() * scale, np.broadcast_to(counts * scale, scores.shape)


def z_loss(logits):
    """Megatron-LM moe_utils.z_loss_func with coefficient 1."""
    largest = logits.max(-1)
    lse = largest + np.log(np.exp(logits - largest[:, None]).sum(-1))
    return (lse**2).mean(), 2 * lse[:, None] * softmax(logits) / len(logits)


def through_softmax(p, dp):
    return p * (dp - (p * dp).sum(-1, keepdims=True))


def through_normalised_sigmoid(s, dp):
    total = s.sum(-1, keepdims=True) + 1e-20
    return (dp - (dp * s).sum(-1, keepdims=True) / total) / total * s * (1 - s)


def updated_bias(bias, counts, rate):
    """Megatron-LM moe_utils.get_updated_expert_bias."""
    return bias + np.sign(counts.mean() - counts) * rate


def quantile(logits, beta, k):
    """Megatron-LM moe_utils.qb_dual_update: ids and the batch's quantile."""
    ranked = np.sort(logits - beta, -1)[:, ::-1]
    column = np.sort(logits - ranked[:, k : k + 1], 0)[::-1]
    return top_k(logits - beta, k), column[len(logits) * k // logits.shape[1]]


def bip_prices(scores, prices, k, rounds):
    """arXiv 2502.15451: dual coordinate descent; no public code is known."""
    room = len(scores) * k // scores.shape[1]
    for _ in range(rounds):
        tokens = np.maximum(0, np.sort(scores - prices, -1)[:, ::-1][:, k])
        prices = np.maximum(0, np.sort(scores - tokens[:, None], 0)[::-1][room])
    return prices


def sinkhorn_plan(cost, xi, tolerance, rounds):
    """arXiv 2511.08972, equations 3 to 6: rows sum to 1, columns to T / E."""
    tokens, experts = cost.shape
    kernel, u = np.exp(cost / xi), np.ones(tokens)
    for _ in range(rounds):
        v = tokens / experts / (kernel.T @ u)
        u = 1 / (kernel @ v)
        plan = u[:, None] * kernel * v
        errors = np.concatenate([plan.sum(1) - 1, plan.sum(0) - tokens / experts])
        if np.sqrt((errors**2).sum()) < tolerance:
            break
    return plan


def erc(router, gate, alpha):
    """arXiv 2512.23447 without noise: value, gradient of the router [D, E] and of the gate matrices [E, D, I]."""
    experts = router.shape[1]
    products = np.einsum("di,jdk->ijk", router, gate)
    size = np.sqrt((products**2).sum(-1))
    value, slope = 0.0, np.zeros_like(size)
    for i in range(experts):
        for j in range(experts):
            if i == j:
                continue
            for a, b in ((i, j), (j, i)):
                gap = size[a, b] - alpha * size[i, i]
                if gap > 0:
                    value += gap / experts**2
                    slope[a, b] += 1 / experts**2
                    slope[i, i] -= alpha / experts**2
    d = slope[:, :, None] * products / size[:, :, None]
    return value, np.einsum("ijk,jdk->di", d, gate), np.einsum("ijk,di->jdk", d, router)


def experts_of(u, p):
    """[T, E, D]: what every expert makes of every token."""
    gate, up = np.einsum("td,edi->tei", u, p["gate"]), np.einsum("td,edi->tei", u, p["up"])
    return np.einsum("tei,eid->ted", gate * sigmoid(gate) * up, p["down"])


def language_loss(x, p, weights, targets):
    """Cross-entropy of the model whose mixture has combine weights [T, E]."""
    y = x + (weights[:, :, None] * experts_of(rms(x), p)).sum(1)
    logits = rms(y) @ p["head"]
    largest = logits.max(-1)
    lse = largest + np.log(np.exp(logits - largest[:, None]).sum(-1))
    return (lse - logits[np.arange(len(x)), targets]).mean()
