#!/usr/bin/env python3
"""SonicMoE (Guo et al. 2025, arXiv 2512.14080), where it is installed: the MoE layer at the shapes of moe_baseline.py.

A layer is the router, top-k and the experts, without norm, residual and balance loss. Prints one JSON line: milliseconds
of the forward and of forward + backward (medians of the second half of each run), TFLOP/s of the experts, the largest
error of the result and its gradients against plain PyTorch in f32 (of 2048 tokens), peak memory, clock and power. Exit
code 77: not installed.

    python3 test/gpu/peers/sonic_moe.py granular-768 --sequences 10     # granular-1536: 6, granular-4096: 8; olmoe, qwen3

SonicMoE is no part of moec. It comes from github.com/Dao-AILab/sonic-moe; its requirements.txt names the versions of
quack and of nvidia-cutlass-dsl that it needs. Put its folder on PYTHONPATH.
"""
import argparse
import json
import statistics
import sys
import time

import torch

from moe_baseline import CONFIGS, SEQ_LEN, card

try:
    from sonicmoe import MoE
    from sonicmoe.enums import ActivationType
    from sonicmoe.functional import TC_Softmax_Topk_Router_Function, moe_TC_softmax_topk_layer
except ImportError as error:
    print(f"SonicMoE is not installed: {error}", file=sys.stderr)
    sys.exit(77)


def make(c):
    layer = MoE(num_experts=c["experts"], num_experts_per_tok=c["top_k"], hidden_size=c["hidden"], intermediate_size=c["inner"],
                activation_function=ActivationType.SWIGLU, add_bias=False, std=0.02)
    return layer.to(device="cuda", dtype=torch.bfloat16)


def forward(layer, x):
    up, down = layer.c_fc.weight, layer.c_proj.weight
    return moe_TC_softmax_topk_layer(x, layer.router.weight, up.permute(1, 2, 0), None, down.permute(1, 2, 0), None, layer.top_k,
                                     layer.stream_id, layer.activation_function, False)[0]


def plain(layer, x):
    """The experts in f32, one by one, with SonicMoE's own choice: equal logits in bf16 are frequent. Gate and up alternate."""
    logits = torch.nn.functional.linear(x, layer.router.weight)
    weights, experts = TC_Softmax_Topk_Router_Function.apply(logits, layer.num_experts, layer.top_k)
    weights, y = weights.float(), torch.zeros(x.shape, device="cuda")
    for e in range(layer.num_experts):
        tokens, slots = torch.where(experts == e)
        h = x[tokens].float() @ layer.c_fc.weight[e].float().t()
        h = torch.nn.functional.silu(h[:, ::2]) * h[:, 1::2]
        y = y.index_add(0, tokens, (h @ layer.c_proj.weight[e].float().t()) * weights[tokens, slots, None])
    return y


def error(c):
    """The largest relative error of the result and of the gradients, of 2048 tokens."""
    layer = make(c)
    x = (0.2 * torch.randn(2048, c["hidden"], device="cuda")).bfloat16().requires_grad_()
    leaves, dy = [x, layer.c_fc.weight, layer.c_proj.weight], torch.randn(2048, c["hidden"], device="cuda").bfloat16()
    found, wanted = forward(layer, x), plain(layer, x)
    pairs = list(zip([found, *torch.autograd.grad(found, leaves, dy)], [wanted, *torch.autograd.grad(wanted, leaves, dy.float())]))
    return max((torch.linalg.vector_norm(a.float() - b.float()) / torch.linalg.vector_norm(b.float())).item() for a, b in pairs)


def median_ms(run, seconds):
    run()
    times, start = [], time.time()
    while time.time() - start < seconds:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(5):
            run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 5)
    return statistics.median(times[len(times) // 2:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--sequences", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(0)
    c = CONFIGS[args.config]
    worst = error(c)
    if not worst < 2e-2:
        print(f"SonicMoE's result differs from the plain computation by {worst:.1e}", file=sys.stderr)
        return 1
    layer = make(c)
    x = torch.randn(args.sequences * SEQ_LEN, c["hidden"], device="cuda", dtype=torch.bfloat16, requires_grad=True)
    grad = torch.randn_like(x)
    forward(layer, x)  # compiles
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    def step():
        forward(layer, x).backward(grad)
        layer.zero_grad(set_to_none=True)
        x.grad = None

    forward_ms, ms = median_ms(lambda: forward(layer, x), args.seconds), median_ms(step, args.seconds)
    flops = 3 * 6 * x.shape[0] * c["top_k"] * c["hidden"] * c["inner"]
    print(json.dumps(dict(system="sonic-moe", config=args.config, part="moe", ms=round(ms, 3), forward_ms=round(forward_ms, 3),
                          expert_tflops=round(flops / ms / 1e9, 1), error=float(f"{worst:.1e}"),
                          peak_gib=round((torch.cuda.max_memory_allocated() - before) / 2**30, 2), **card())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
