#!/usr/bin/env python3
"""The strong PyTorch baseline of docs/performance.md: a whole training step of an MoE language model, written as a careful user of PyTorch would.

Compiled sublayers, torch._grouped_mm for the experts, cuDNN attention, fused AdamW. Prints one JSON line:
tokens/s over the last half of the run, milliseconds a step, peak memory, clock and power.

    python3 test/gpu/peers/moe_baseline.py olmoe --seconds 10
    python3 test/gpu/peers/moe_baseline.py olmoe --masters f32       # f32 masters, gradients and moments
    python3 test/gpu/peers/moe_baseline.py olmoe-full-qk             # as olmoe-4layer-full-qk
    python3 test/gpu/peers/moe_baseline.py granular-768 --sequences 10 --part moe   # one MoE layer, forward and backward
"""
import argparse
import json
import os
import statistics
import subprocess
import time

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SEQ_LEN = 4096
CONFIGS = {
    "olmoe": dict(hidden=2048, heads=16, kv_heads=16, head=128, experts=64, top_k=8, inner=1024, vocab=50304, layers=4,
                  qk_norm="head", renorm=False),
    "mixtral": dict(hidden=4096, heads=32, kv_heads=8, head=128, experts=8, top_k=2, inner=14336, vocab=32000, layers=2,
                    qk_norm=None, renorm=True),
    "qwen3": dict(hidden=2048, heads=32, kv_heads=4, head=128, experts=128, top_k=8, inner=768, vocab=151936, layers=4,
                  qk_norm="head", renorm=True),
    # Many small experts, the shapes at which SonicMoE (arXiv 2512.14080) is compared.
    "granular-768": dict(hidden=768, heads=6, kv_heads=6, head=128, experts=128, top_k=8, inner=256, vocab=32000, layers=2,
                         qk_norm=None, renorm=False),
    "granular-1536": dict(hidden=1536, heads=12, kv_heads=12, head=128, experts=128, top_k=8, inner=256, vocab=32000, layers=2,
                          qk_norm=None, renorm=False),
    "granular-4096": dict(hidden=4096, heads=32, kv_heads=32, head=128, experts=256, top_k=16, inner=256, vocab=32000, layers=2,
                          qk_norm=None, renorm=False),
}
# OLMoE's own norm of queries and keys: one over all heads.
CONFIGS["olmoe-full-qk"] = CONFIGS["olmoe"] | dict(qk_norm="full")


def flops_per_token(c):
    """Forward and backward: 6 x active parameters of products + causal attention at half."""
    q, kv = c["heads"] * c["head"], c["kv_heads"] * c["head"]
    attention = c["hidden"] * (q + 2 * kv) + q * c["hidden"]
    experts = 3 * c["top_k"] * c["hidden"] * c["inner"] + c["hidden"] * c["experts"]
    products = c["layers"] * (attention + experts) + c["hidden"] * c["vocab"]
    return 6 * products + 3 * c["layers"] * 2 * SEQ_LEN * q


def rms_norm(x, scale, eps=1e-5):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * scale


# Moves of rows with backwards that gather, too: autograd's own would scatter with atomics.
class GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, order, inverse, k: int):
        ctx.save_for_backward(inverse)
        ctx.k = k
        return x[order // k]

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        return grad[inverse].view(-1, ctx.k, grad.shape[-1]).sum(1), None, None, None


class CombineRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, order, inverse, k: int):
        ctx.save_for_backward(order)
        ctx.k = k
        return y[inverse].view(-1, k, y.shape[-1]).sum(1)

    @staticmethod
    def backward(ctx, grad):
        (order,) = ctx.saved_tensors
        return grad[order // ctx.k], None, None, None


class PermuteWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, order, inverse):
        ctx.save_for_backward(inverse)
        return weights[order]

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        return grad[inverse], None, None


def parameter(*shape, std=0.02):
    return nn.Parameter(torch.empty(*shape, device="cuda", dtype=torch.bfloat16).normal_(std=std))


def ones(n):
    return nn.Parameter(torch.ones(n, device="cuda", dtype=torch.bfloat16))


class MoeBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, self.norm = c, ones(c["hidden"])
        self.router = parameter(c["experts"], c["hidden"])
        self.gate_up = parameter(c["experts"], 2 * c["inner"], c["hidden"])
        self.down = parameter(c["experts"], c["hidden"], c["inner"])

    def forward(self, x):
        c = self.c
        h = rms_norm(x, self.norm).view(-1, c["hidden"])
        scores = F.linear(h, self.router).float().softmax(-1)
        weights, ids = torch.topk(scores, c["top_k"], dim=-1)
        if c["renorm"]:
            weights = weights / weights.sum(-1, keepdim=True)
        flat = ids.reshape(-1)
        order = torch.sort(flat.to(torch.uint8), stable=True)[1]
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))
        counts = (flat[:, None] == torch.arange(c["experts"], device=flat.device)).sum(0)
        ends = counts.cumsum(0).to(torch.int32)
        balance = c["experts"] * (scores.mean(0) * (counts.float() / flat.numel())).sum()
        rows = GatherRows.apply(h, order, inverse, c["top_k"])
        row_weights = PermuteWeights.apply(weights.reshape(-1), order, inverse)
        gate, up = torch._grouped_mm(rows, self.gate_up.transpose(-2, -1), offs=ends).chunk(2, -1)
        act = (F.silu(gate.float()) * up.float() * row_weights[:, None]).to(h.dtype)
        y = torch._grouped_mm(act, self.down.transpose(-2, -1), offs=ends)
        return x + CombineRows.apply(y, order, inverse, c["top_k"]).view_as(x), balance


class AttentionBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, self.norm = c, ones(c["hidden"])
        self.qkv = parameter((c["heads"] + 2 * c["kv_heads"]) * c["head"], c["hidden"])
        self.out = parameter(c["hidden"], c["heads"] * c["head"])
        if c["qk_norm"]:
            # By head, or over all heads at once.
            q, k = (c["heads"], c["kv_heads"]) if c["qk_norm"] == "full" else (1, 1)
            self.q_norm, self.k_norm = ones(q * c["head"]), ones(k * c["head"])
        angles = torch.arange(SEQ_LEN, device="cuda").float()[:, None] / (
            10000 ** (torch.arange(0, c["head"], 2, device="cuda").float() / c["head"]))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rope(self, x):
        a, b = x.float().chunk(2, -1)
        cos, sin = self.cos[None, :, None, :], self.sin[None, :, None, :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

    def norm_heads(self, x, scale):
        wide = x.flatten(2) if self.c["qk_norm"] == "full" else x
        return rms_norm(wide, scale).view_as(x)

    def forward(self, x):
        c = self.c
        batch, seq, _ = x.shape
        qkv = F.linear(rms_norm(x, self.norm), self.qkv).view(batch, seq, -1, c["head"])
        q, k, v = qkv.split([c["heads"], c["kv_heads"], c["kv_heads"]], 2)
        if c["qk_norm"]:
            q, k = self.norm_heads(q, self.q_norm), self.norm_heads(k, self.k_norm)
        q, k = self.rope(q), self.rope(k)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True,
                                               enable_gqa=c["heads"] != c["kv_heads"])
        return x + F.linear(mixed.transpose(1, 2).reshape(batch, seq, -1), self.out)


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm, self.weight = ones(c["hidden"]), parameter(c["vocab"], c["hidden"])

    def forward(self, x, targets):
        logits = F.linear(rms_norm(x, self.norm).view(-1, x.shape[-1]), self.weight)
        return F.cross_entropy(logits.float(), targets.view(-1))


class LanguageModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Embedding(c["vocab"], c["hidden"], device="cuda", dtype=torch.bfloat16)
        self.blocks = nn.ModuleList(nn.ModuleList([AttentionBlock(c), MoeBlock(c)]) for _ in range(c["layers"]))
        self.head = Head(c)
        for block in [part for pair in self.blocks for part in pair] + [self.head]:
            block.compile(fullgraph=True, dynamic=False)

    def forward(self, tokens, targets):
        x, balance = self.embed(tokens), 0.0
        for attention, experts in self.blocks:
            x, term = experts(attention(x))
            balance = balance + term
        return self.head(x, targets) + 0.01 * balance


class MasterAdamW:
    """AdamW on f32 masters: gradients are widened, the bf16 weights are rounded from the masters after each step."""

    def __init__(self, parameters, lr):
        self.weights = list(parameters)
        self.masters = [w.detach().float().requires_grad_() for w in self.weights]
        self.inner = torch.optim.AdamW(self.masters, lr=lr, fused=True)

    def step(self):
        for weight, master in zip(self.weights, self.masters):
            master.grad = weight.grad.float()
            weight.grad = None
        self.inner.step()
        torch._foreach_copy_([w.data for w in self.weights], [m.data for m in self.masters])
        for master in self.masters:
            master.grad = None

    def zero_grad(self, set_to_none=True):
        pass


def card():
    query = "nvidia-smi --query-gpu=name,clocks.sm,power.draw --format=csv,noheader,nounits"
    name, clock, power = subprocess.run(query, shell=True, capture_output=True, text=True).stdout.strip().split(", ")
    return dict(gpu=name, clock_mhz=int(clock), power_w=float(power))


def measure_layer(c, sequences, seconds):
    """Norm, router, balance loss, experts and residual of one layer, forward and backward: milliseconds, TFLOP/s of the experts."""
    block = MoeBlock(c)
    block.compile(fullgraph=True, dynamic=False)
    x = torch.randn(sequences, SEQ_LEN, c["hidden"], device="cuda", dtype=torch.bfloat16, requires_grad=True)
    grad = torch.randn_like(x)

    def step():
        y, balance = block(x)
        torch.autograd.backward([y, balance], [grad, torch.full_like(balance, 0.01)])
        block.zero_grad(set_to_none=True)
        x.grad = None

    step()
    times, start = [], time.time()
    while time.time() - start < seconds:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(5):
            step()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 5)
    median = statistics.median(times[len(times) // 2:])
    flops = 3 * 6 * sequences * SEQ_LEN * c["top_k"] * c["hidden"] * c["inner"]
    return dict(part="moe", ms=round(median, 3), expert_tflops=round(flops / median / 1e9, 1), **card())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--masters", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--part", choices=["step", "moe"], default="step")
    args = parser.parse_args()
    torch.manual_seed(0)
    c = CONFIGS[args.config]
    if args.part == "moe":
        print(json.dumps(dict(system="pytorch " + torch.__version__, config=args.config,
                              **measure_layer(c, args.sequences, args.seconds))))
        return
    model = LanguageModel(c)
    make = torch.optim.AdamW if args.masters == "bf16" else MasterAdamW
    optimizer = make(model.parameters(), lr=1e-5, **({"fused": True} if args.masters == "bf16" else {}))
    batch = torch.randint(0, c["vocab"], (args.sequences, SEQ_LEN + 1), device="cuda")
    tokens, targets = batch[:, :-1].contiguous(), batch[:, 1:].contiguous()

    def step():
        loss = model(tokens, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        first = float(step())
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        events, start, state = [], time.time(), None
        while time.time() - start < args.seconds:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            step()
            end.record()
            events.append((begin, end))
            if len(events) > 4:
                events[-4][1].synchronize()
            if state is None and time.time() - start > 0.8 * args.seconds:
                state = card()
        torch.cuda.synchronize()
    times = [begin.elapsed_time(end) for begin, end in events]
    median = statistics.median(times[len(times) // 2:])
    count = args.sequences * SEQ_LEN
    print(json.dumps(dict(system="pytorch " + torch.__version__, config=args.config, masters=args.masters, steps=len(times),
                          ms=round(median, 2), tokens_per_s=round(count / median * 1e3),
                          tflops=round(flops_per_token(c) * count / median / 1e9, 1),
                          peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2), first_loss=round(first, 4),
                          **(state or card()))))


if __name__ == "__main__":
    main()
