"""Attention on tensor cores. Where the compiler is: `attention.py write correct|fast > FILE.mlir`, then
`moec-kernels FILE.mlir -o FOLDER`. On a GPU: `attention.py correct|fast|once FOLDER [SHAPE...]`.

correct: against a float64 (long sequences: float32) reference, outputs and workspace NaN before, repeats bit by bit.
fast: beside cuDNN through PyTorch's SDPA, interleaved. once: one launch of each, for compute-sanitizer.
A shape is SEQUENCESxPOSITIONS_HEADS_KVHEADS_HEADSIZE or ..._HEADSIZE_WINDOW. cuDNN has no windows here: it runs on all of the
sequence, and rates count what each computes."""
import json
import math
import os
import statistics
import sys

SHAPES = {
    "correct": ["1x65_2_2_128", "2x128_4_2_128", "1x300_4_2_128", "1x512_8_2_128", "2x777_8_1_128", "3x1024_6_6_128", "1x4096_8_2_128",
                "2x777_4_2_64", "1x1024_8_1_64", "2x4096_16_16_128", "2x3001_24_24_128", "4x2100_24_12_128", "2x4096_40_8_128",
                "2x777_8_1_128_1", "1x300_4_2_128_63", "1x512_8_2_128_64", "1x1000_4_2_128_65", "1x1024_8_2_128_128", "2x777_4_2_64_129",
                "1x512_8_2_128_200", "3x1024_6_6_128_1000", "1x2048_8_2_128_383", "1x4096_8_2_128_1024", "1x65_2_2_128_64"],
    "fast": ["4x4096_16_16_128", "8x4096_16_16_128", "8x4096_16_16_128_4095", "8x4096_32_8_128", "8x4096_32_8_128_4095", "8x4096_32_4_128", "1x16384_32_8_128", "1x16384_32_8_128_4096",
             "1x16384_32_8_128_1024", "8x4096_32_8_128_1024", "8x4096_32_8_128_128"],
}


def parse(shape):
    """sequences, positions, heads, kv_heads, head_size and window (positions: none)."""
    sequences, rest = shape.split("x")
    sizes = [int(sequences)] + [int(n) for n in rest.split("_")]
    return sizes if len(sizes) == 6 else sizes + [sizes[1]]


def text(shape):
    """Both dispatches of a shape; operands and results in the order of the ops."""
    b, n, heads, kv, size, window = parse(shape)
    q, k, lse = f"tensor<{b * n}x{heads * size}x", f"tensor<{b * n}x{kv * size}x", f"tensor<{b * n}x{heads}xf32>"
    attributes = f"heads {heads} kv_heads {kv} seq_len {n}" + (f" window {window}" if window < n else "")

    def function(name, kind, inputs, op, results):
        names = [f"%a{i}" for i in range(len(inputs))]
        body, values = [], []
        for i, t in enumerate(inputs):
            values.append(f"%b{i}")
            if t.endswith("x"):
                body.append(f"%w{i} = moe.cast %b{i} : {t}bf16> -> {t}f32>")
                values[i] = f"%w{i}"
        made = [f"%r{i}" for i in range(len(results))]
        body.append(f"{', '.join(made)} = {op(values)}")
        for i, t in enumerate(results):
            if t.endswith("x"):
                body.append(f"%n{i} = moe.cast %r{i} : {t}f32> -> {t}bf16>")
                made[i] = f"%n{i}"
        ins, outs = ([t + "bf16>" if t.endswith("x") else t for t in ts] for ts in (inputs, results))
        body.append(f"moe.yield {', '.join(made)} : {', '.join(outs)}")
        lines = "\n".join("    " + line for line in body)
        return (f'func.func @"{name}"({", ".join(f"{a}: {t}" for a, t in zip(names, ins))}) {{\n'
                f'  %x:{len(outs)} = moe.dispatch "{kind}" ({", ".join(f"%b{i} = {a}" for i, a in enumerate(names))}) : ({", ".join(ins)}) -> '
                f"({', '.join(outs)}) {{\n{lines}\n  }}\n  return\n}}\n")

    forward = function("f" + shape, "attention", [q, k, k],
                       lambda v: f"moe.attention {', '.join(v)} {attributes} : {q}f32>, {k}f32> -> {lse}", [q, lse])
    return forward + function("b" + shape, "attention_grad", [q, k, k, q, lse, q],
                              lambda v: f"moe.attention_grad {', '.join(v)} {attributes} : {q}f32>, {k}f32>, {lse}", [q, k, k])


class Case:
    def __init__(self, shape, folder, records):
        import torch
        from kernels import Kernel
        self.shape, (b, n, heads, kv, size, _) = shape, parse(shape)
        torch.manual_seed(1)

        def random(h):
            return torch.randn(b, n, h, size, device="cuda", dtype=torch.bfloat16)
        self.q, self.k, self.v, self.grad = random(heads), random(kv), random(kv), random(heads)
        self.lse = torch.empty(b, n, heads, device="cuda")
        self.out = [torch.empty_like(self.q), self.lse, torch.empty_like(self.q), torch.empty_like(self.k), torch.empty_like(self.v)]
        forward = [self.q, self.k, self.v, self.out[0], self.lse]
        backward = [self.q, self.k, self.v, self.out[0], self.lse, self.grad, *self.out[2:]]
        self.kernels = {"f": [], "b": []}
        made = {kind: [Kernel(folder, r) for r in records if r["dispatch"] == kind + shape] for kind in "fb"}
        for kind, params in (("f", forward), ("b", backward)):  # after all kernels are made: scratch is then as large as any needs
            self.kernels[kind] = [kernel.bind(params) for kernel in made[kind]]
        self.scratch = Kernel.scratch

    def forward(self):
        for run in self.kernels["f"]:
            run()

    def backward(self):
        for run in self.kernels["b"]:
            run()

    def results(self):
        """Of one forward and backward on poisoned memory."""
        import torch
        for tensor in self.out:
            tensor.fill_(float("nan"))
        self.scratch[4096:] = 255
        for run in self.kernels["f"] + self.kernels["b"]:
            run()
            torch.cuda.synchronize()
        return [tensor.clone() for tensor in self.out]

    def want(self):
        import torch
        b, n, heads, kv, size, window = parse(self.shape)
        exact = torch.float64 if n <= 1100 else torch.float32
        ones = torch.ones(n, n, dtype=torch.bool, device="cuda")
        hidden = ones.triu(1) | ones.tril(-window)
        want = [torch.zeros(t.shape, device="cuda", dtype=exact) for t in self.out]
        for i in range(b):
            for h in range(heads):
                g = h // (heads // kv)
                q, k, v = (t.to(exact).requires_grad_() for t in (self.q[i, :, h], self.k[i, :, g], self.v[i, :, g]))
                scores = (q @ k.T / math.sqrt(size)).masked_fill(hidden, float("-inf"))
                result = torch.softmax(scores, -1) @ v
                want[0][i, :, h], want[1][i, :, h] = result.detach(), torch.logsumexp(scores.detach(), -1)
                dq, dk, dv = torch.autograd.grad(result, (q, k, v), self.grad[i, :, h].to(exact))
                want[2][i, :, h] = dq
                want[3][i, :, g] += dk
                want[4][i, :, g] += dv
        return want


def correct(case, repeats=5):
    import torch
    first, problem = case.results(), ""
    for _ in range(repeats):
        if not all(torch.equal(a, b) for a, b in zip(first, case.results())):
            problem = "launches differ"
    if case.scratch[:4096].any():
        problem = "counters are not zero"
    errors = []
    for i, (got, want) in enumerate(zip(first, case.want())):
        norm = torch.linalg.vector_norm
        if i == 1:
            errors.append((got - want).abs().max().item())
        else:  # with a window of one position the gradients of queries and keys are zero
            errors.append(norm(got.double() - want).item() / (norm(want.double()).item() or norm(case.grad.double()).item()))
        if not errors[-1] < (2e-5 if i == 1 else 4e-3):
            problem = problem or "error too large"
    print(f"{case.shape:24} result {errors[0]:.1e} lse {errors[1]:.1e} dq {errors[2]:.1e} dk {errors[3]:.1e} dv {errors[4]:.1e} {problem or 'ok'}",
          flush=True)
    return not problem


def medians(programs, rounds):
    import torch
    times = [[] for _ in programs]
    for i in range(rounds + 3):
        for program, list_ in zip(programs, times):
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            program()
            b.record()
            if i >= 3:
                list_.append((a, b))
    torch.cuda.synchronize()
    return [statistics.median(a.elapsed_time(b) for a, b in list_) for list_ in times]


def fast(case):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    b, n, heads, kv, size, window = parse(case.shape)
    q, k, v, grad = (t.transpose(1, 2).detach().requires_grad_() for t in (case.q, case.k, case.v, case.grad))
    case.results()

    def sdpa():
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv)

    def peer():
        with torch.no_grad():
            return sdpa()
    made = sdpa()
    full, useful = (4 * b * heads * size * (w * n - w * w / 2) / 1e9 for w in (n, window))
    for _ in range(2):  # the second time the card is hot
        line = f"{case.shape:24}"
        for name, ours, theirs, factor in (("forward", case.forward, peer, 1),
                                           ("backward", case.backward, lambda: torch.autograd.grad(made, (q, k, v), grad, retain_graph=True), 2.5)):
            x, y = medians([ours, theirs], 10)
            line += f"  {name} {x:.3f} ms {factor * useful / x:.0f} TFLOP/s, cuDNN {y:.3f} ms {factor * full / y:.0f}, x {y / x:.3f}"
        print(line, flush=True)
    return True


def once(case):
    case.results()
    return True


def main():
    kind = sys.argv[1]
    if kind == "write":
        print("".join(text(shape) for shape in SHAPES[sys.argv[2]]))
        return 0
    import torch
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.zeros(1, device="cuda")
    folder = sys.argv[2]
    records = json.load(open(os.path.join(folder, "kernels.json")))
    shapes = sys.argv[3:] or [r["dispatch"][1:] for r in records if r["dispatch"].startswith("f")]
    ok = True
    for shape in shapes:
        print(f"{shape} ...", end="\r", flush=True)  # names the one that hangs
        ok &= {"correct": correct, "fast": fast, "once": once}[kind](Case(shape, folder, records))
        torch.cuda.empty_cache()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
