"""Products of quantised operands and the quantising of weights: `python3 fp8_cases.py correct|fast > FILE.mlir`."""
import sys

from dispatchlib import F8, Text
from matmul_cases import SILU, Case, by_group, f, gathered, padded, random, row_numbers, sizes

# Sums of products stay in the tensor core, which keeps about 14 bits of them.
LIMIT = 8e-3


def power_scale(x):
    """The smallest power of two, from 2^-100 on, with which each row of x stays within 448."""
    import torch
    mantissa, exponent = torch.frexp(x.float().abs().amax(-1))  # mantissa in [0.5, 1)
    power = torch.where(mantissa == 0, -100, exponent - 9 + (mantissa > 0.875)).clamp(min=-100)
    return torch.ldexp(torch.ones_like(mantissa), power)


def quantised(x):
    import torch
    s = power_scale(x)
    return (x.float() / s[..., None]).to(torch.float8_e4m3fn), s


def weights(shape):
    """[E, N, K] and its scales [E, N]."""
    return quantised(random(shape, "f32", shape[2]**-0.5))


def grouped_peer(a, scale, w, columns, offsets):
    import torch
    return torch._scaled_grouped_mm(a, w.transpose(1, 2), scale, columns, offs=offsets, out_dtype=torch.bfloat16, use_fast_accum=True)


def up(name, T, D, F, E, R, balanced=True, sinks="gu"):
    """Gathered tokens, gate and up projection; with h also SwiGLU."""
    t = Text(name)
    x, rows = t.input([T, D], F8), t.input([R, 1], "i32")
    offsets, counts = t.input([1, E + 1], "i32"), t.input([1, E], "i32")
    g, u = t.input([E, F, D], F8), t.input([E, F, D], F8)
    token, gs, us = t.input([R, 1], "f32"), t.input([E, F], "f32"), t.input([E, F], "f32")
    a = t.gather(x, [T, D], rows, R)
    p = t.grouped(a, [R, D], g, [E, F, D], offsets, counts, [R, F], True, (token, gs))
    q = t.grouped(a, [R, D], u, [E, F, D], offsets, counts, [R, F], True, (token, us))
    h = t.map([(p, [R, F]), (q, [R, F])], [R, F], SILU, ["%h"])[0] if "h" in sinks else None
    for s in sinks:
        t.result({"h": h, "g": p, "u": q}[s], [R, F], "bf16")

    def make():
        c, o = sizes(E, R, 1, balanced)
        (x, s), (g, gs), (u, us) = quantised(random([T, D])), weights([E, F, D]), weights([E, F, D])
        rows = row_numbers(T, R, c, o)
        return [x, rows, o[None], c[None], g, u, gathered(s[:, None], rows), gs, us]

    def want(x):
        import torch
        a, o = gathered(f(x[0]), x[1]) * x[6], x[2][0].tolist()
        p, q = (by_group(a, (f(w) * s[..., None]).transpose(1, 2), o) for w, s in ((x[4], x[7]), (x[5], x[8])))
        return [{"h": torch.nn.functional.silu(p) * q, "g": p, "u": q}[s] for s in sinks]

    def peer(x):
        import torch
        o = x[2][0, 1:].contiguous()
        n = int(o[-1])
        r = x[1][:n, 0].long().clamp(min=0)
        w, columns = torch.cat([x[4].view(torch.uint8), x[5].view(torch.uint8)], 1).view(torch.float8_e4m3fn), torch.cat([x[7], x[8]], 1)
        scale, data = x[6][:n, 0].contiguous(), x[0].view(torch.uint8)
        return lambda: grouped_peer(data.index_select(0, r).view(torch.float8_e4m3fn), scale, w, columns, o)

    Case(t, make, want, peer, rows=lambda x: int(x[2][0, -1]), limit=LIMIT)


def down(name, K, N, E, R, balanced=True, terms=1, out="bf16"):
    """Rows that lie in order, times [E, N, K]; `terms` such products with one pair of scales, added."""
    t = Text(name)
    offsets, counts = t.input([1, E + 1], "i32"), t.input([1, E], "i32")
    rs, cs = t.input([R, 1], "f32"), t.input([E, N], "f32")
    pairs = [(t.input([R, K], F8), t.input([E, N, K], F8)) for _ in range(terms)]
    parts = [t.grouped(a, [R, K], w, [E, N, K], offsets, counts, [R, N], True, (rs, cs)) for a, w in pairs]
    value = parts[0]
    if terms > 1:
        value, = t.map([(p, [R, N]) for p in parts], [R, N], ["%x = arith.addf %0, %1 : f32"], ["%x"])
    t.result(value, [R, N], out)

    def make():
        import torch
        c, o = sizes(E, R, 2, balanced)
        (a, rs), (w, cs) = quantised(padded(random([R, K * terms]), c, o)), weights([E, N, K * terms])
        x = [o[None], c[None], rs[:, None], cs]
        for i in range(terms):
            x += [part.view(torch.uint8)[..., i * K:(i + 1) * K].contiguous().view(torch.float8_e4m3fn) for part in (a, w)]
        return x

    def want(x):
        o = x[0][0].tolist()
        return [sum(by_group(f(x[4 + 2 * i]) * x[2], (f(x[5 + 2 * i]) * x[3][..., None]).transpose(1, 2), o) for i in range(terms))]

    def peer(x):
        o = x[0][0, 1:].contiguous()
        n = int(o[-1])
        scale = x[2][:n, 0].contiguous()
        parts = [(x[4 + 2 * i][:n], x[5 + 2 * i]) for i in range(terms)]
        if terms == 1:
            return lambda: grouped_peer(parts[0][0], scale, parts[0][1], x[3], o)
        return lambda: grouped_peer(parts[0][0], scale, parts[0][1], x[3], o).add_(grouped_peer(parts[1][0], scale, parts[1][1], x[3], o))

    Case(t, make, want, peer, rows=lambda x: int(x[0][0, -1]), limit=LIMIT)


def columns(name, E, K, N, dtype="f32"):
    """Weights [E, K, N] transposed and quantised: bits and scales are exact."""
    t = Text(name, "quantize_columns")
    w = t.input([E, K, N], dtype)
    wide = [f"tensor<{E}x{a}x{b}xf32>" for a, b in ((K, N), (N, K))]
    q = t.op(f"moe.quantize_columns {w} : {wide[0]} -> {wide[1]}, tensor<{E}x{N}xf32>")
    t.body[-1] = t.body[-1].replace(f"{q} =", f"{q}, {q}s =")
    t.result(q, [E, N, K], F8)
    t.result(q + "s", [E, N], "f32")

    def want(x):
        return list(quantised(f(x[0]).transpose(1, 2)))

    Case(t, lambda: [random([E, K, N], dtype, K**-0.5)], want, limit=1e-9)


def correct():
    for b in (True, False):
        n = "" if b else "_skew"
        up("up8" + n, 512, 256, 192, 8, 2048, b)
        up("up8_h" + n, 512, 272, 384, 8, 4096, b, "h")
        up("up8_hgu" + n, 512, 512, 264, 8, 4096, b, "hgu")
        down("down8" + n, 192, 264, 8, 2048, b)
        down("dx8" + n, 208, 512, 8, 2048, b, terms=2)
        down("lanes8" + n, 496, 2048, 8, 16896, b)
    down("deep8", 4096, 256, 8, 2048, out="f32")
    columns("columns", 3, 256, 192)
    columns("columns_odd", 2, 130, 72)
    columns("columns_bf16", 2, 512, 100, "bf16")


def fast():
    T, E, R, D, F = 32768, 64, 262592, 2048, 1024
    up("f_up8", T, D, F, E, R)
    up("f_up8_h", T, D, F, E, R, sinks="h")
    down("f_down8", F, D, E, R)
    down("f_dswiglu8", D, F, E, R)
    down("f_dx8", F, D, E, R, terms=2)
    columns("f_columns", E, D, F)
    columns("f_columns_bf16", E, D, F, "bf16")


SETS = {"correct": correct, "fast": fast}
if __name__ == "__main__":
    SETS[sys.argv[1]]()
    only = sys.argv[2:]
    print("\n".join(str(case.text) for name, case in Case.cases.items() if not only or name in only))
