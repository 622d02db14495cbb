"""Matrix products of the tensor-core template: `python3 matmul_cases.py correct|fast > FILE.mlir`."""
import sys

from dispatchlib import Text

SILU = ["%one = arith.constant 1.0 : f32", "%n = arith.negf %0 : f32", "%x = math.exp %n : f32", "%d = arith.addf %x, %one : f32",
        "%q = arith.divf %0, %d : f32", "%h = arith.mulf %q, %1 : f32"]


class Case:
    """`make(t)` gives the tensors of all params in order (results and accumulators: NaN or random); `want(tensors)` what
    results and accumulators must hold, within `limit` if given; `peer(tensors)` a function that does the work in PyTorch."""
    cases = {}

    def __init__(self, text, make, want, peer=None, rows=None, limit=None):
        self.text, self.make, self.want, self.peer, self.rows, self.limit = text, make, want, peer, rows, limit
        Case.cases[text.name] = self


def random(shape, dtype="bf16", scale=1.0):
    import torch
    return (torch.randn(*shape, device="cuda") * scale).to(torch.bfloat16 if dtype == "bf16" else torch.float32)


def f(t):
    return t.float()


def dense(name, M, N, K, ta=False, tb=False, out="bf16", accumulate=False, fancy=False):
    t = Text(name)
    ash, bsh = ([K, M] if ta else [M, K]), ([N, K] if tb else [K, N])
    a, b = t.input(ash, "bf16"), t.input(bsh, "bf16")
    extra = []
    if fancy:
        extra = [([M, N], "bf16"), ([1, N], "f32"), ([M, 1], "f32"), ([1, 1], "f32"), ([M, N], "f32")]
    names = [t.input(*e) for e in extra]
    p = t.matmul(a, ash, b, bsh, [M, N], ta, tb)
    if fancy:
        r, s = t.map([(p, [M, N])] + [(n, e[0]) for n, e in zip(names, extra)], [M, N],
                     ["%x = arith.mulf %0, %2 : f32", "%y = arith.mulf %x, %3 : f32", "%z = arith.addf %y, %1 : f32",
                      "%w = arith.mulf %z, %4 : f32", "%u = arith.addf %0, %5 : f32"], ["%w", "%u"])
        t.result(r, [M, N], "bf16")
        t.result(s, [M, N], "f32")
        t.result(p, [M, N], "bf16")
    elif accumulate:
        t.accumulate(p, [M, N], out)
    else:
        t.result(p, [M, N], out)

    def make():
        return [random(ash), random(bsh)] + [random(*e) for e in extra]

    def product(x):
        return (f(x[0]).t() if ta else f(x[0])) @ (f(x[1]).t() if tb else f(x[1]))

    def want(x):
        c = product(x)
        if fancy:
            z = c * x[3] * x[4] + f(x[2])
            return [z * x[5], c + x[6], c]
        return [c]

    def peer(x):
        import torch
        A, B = (x[0].t() if ta else x[0]), (x[1].t() if tb else x[1])
        C = torch.empty(M, N, device="cuda", dtype=torch.bfloat16)
        return lambda: torch.matmul(A, B, out=C)

    Case(t, make, want, None if fancy else peer)


def pair(name, M, N, K):
    """Two products of one left side, both stored: query and key."""
    t = Text(name)
    a, b, c = t.input([M, K], "bf16"), t.input([K, N], "bf16"), t.input([K, N], "bf16")
    t.result(t.matmul(a, [M, K], b, [K, N], [M, N]), [M, N], "bf16")
    t.result(t.matmul(a, [M, K], c, [K, N], [M, N]), [M, N], "bf16")

    def peer(x):
        import torch
        w = torch.cat([x[1], x[2]], 1)
        return lambda: torch.matmul(x[0], w)

    Case(t, lambda: [random([M, K]), random([K, N]), random([K, N])],
         lambda x: [f(x[0]) @ f(x[1]), f(x[0]) @ f(x[2])], peer)


def zipf(E, most):
    """Shares of E experts like 1 / rank, none above `most` (1 / top_k: an expert takes a token once)."""
    import torch
    w = 1 / torch.arange(1, E + 1, dtype=torch.float64)
    low, high = 0.0, float(E)
    while high - low > 1e-9 * high:
        scale = (low + high) / 2
        low, high = (scale, high) if (scale * w).clamp(max=most).sum() < 1 else (low, scale)
    return (high * w).clamp(max=most)


def sizes(E, R, seed, balanced):
    """Counts of tokens of each expert whose groups, rounded up to 64, fit R rows. Not balanced: one expert has none.
    A number k: Zipf's law with exponent 1, where no expert has more than 1 / k of the rows."""
    import torch
    g = torch.Generator().manual_seed(seed)
    free = R - 63 * E if R > 63 * E else 64 * (E - 1)
    w = torch.ones(E) + (0.1 if balanced else 1.0) * torch.rand(E, generator=g)
    if balanced is not True and balanced > 0:
        w = zipf(E, 1 / balanced)[torch.randperm(E, generator=g)]
    elif not balanced:
        w[E // 2] = 0
    counts = (w / w.sum() * free).floor().int()
    groups = (counts + 63) // 64 * 64
    offsets = torch.zeros(E + 1, dtype=torch.int32)
    offsets[1:] = groups.cumsum(0)
    assert offsets[-1] <= R
    return counts.cuda(), offsets.cuda()


def padded(x, counts, offsets):
    """Zeros in the rows that no token has."""
    for e, (c, o) in enumerate(zip(counts.tolist(), offsets.tolist())):
        x[o + c:offsets[e + 1]] = 0
    return x


def row_numbers(T, R, counts, offsets):
    import torch
    rows = torch.full((R, 1), -1, dtype=torch.int32, device="cuda")
    for c, o in zip(counts.tolist(), offsets.tolist()):
        rows[o:o + c, 0] = torch.randint(0, T, (c,), device="cuda", dtype=torch.int32).sort().values
    return rows


def gathered(x, rows):
    import torch
    r = rows[:, 0].long()
    return torch.where((r >= 0)[:, None], x[r.clamp(min=0)], torch.zeros((), device="cuda", dtype=x.dtype))


def by_group(a, w, offsets):
    import torch
    out = torch.full((a.shape[0], w.shape[2]), float("nan"), device="cuda")
    for e in range(w.shape[0]):
        s = slice(int(offsets[e]), int(offsets[e + 1]))
        out[s] = f(a[s]) @ f(w[e])
    return out


def up(name, T, D, F, E, R, balanced=True, sinks="hgu", tb=False, gathers=True):
    """Gathered tokens, gate and up projection, SwiGLU. Without `gathers` there is a token for each row, in order."""
    t = Text(name)
    wsh = [E, F, D] if tb else [E, D, F]
    x, rows, slot = t.input([T, D], "bf16"), t.input([R, 1], "i32"), t.input([T, 8], "i32")
    offsets, counts = t.input([1, E + 1], "i32"), t.input([1, E], "i32")
    g, u = t.input(wsh, "bf16"), t.input(wsh, "bf16")
    a = t.gather(x, [T, D], rows, R, slot, [T, 8]) if gathers else x
    p = t.grouped(a, [R, D], g, wsh, offsets, counts, [R, F], tb)
    q = t.grouped(a, [R, D], u, wsh, offsets, counts, [R, F], tb)
    h, = t.map([(p, [R, F]), (q, [R, F])], [R, F], SILU, ["%h"])
    for s in sinks:
        t.result({"h": h, "g": p, "u": q}[s], [R, F], "bf16")

    def make():
        import torch
        c, o = sizes(E, R, 1, balanced)
        rows = row_numbers(T, R, c, o) if gathers else torch.arange(R, dtype=torch.int32, device="cuda")[:, None]
        return [random([T, D]), rows, torch.zeros(T, 8, dtype=torch.int32, device="cuda"), o[None], c[None],
                random(wsh, scale=D**-0.5), random(wsh, scale=D**-0.5)]

    def want(x):
        import torch
        a = gathered(x[0], x[1])
        o = x[3][0].tolist()
        gw, uw = (x[5].transpose(1, 2), x[6].transpose(1, 2)) if tb else (x[5], x[6])
        g, u = by_group(a, gw, o), by_group(a, uw, o)
        return [{"h": torch.nn.functional.silu(g) * u, "g": g, "u": u}[s] for s in sinks]

    def peer(x):
        import torch
        o = x[3][0, 1:].contiguous()
        r = x[1][:int(o[-1]), 0].long().clamp(min=0)
        w = torch.cat([x[5], x[6]], 1 if tb else 2).contiguous()
        if tb:
            w = w.transpose(1, 2)
        silu = torch.compile(lambda h: torch.nn.functional.silu(h[:, :F]) * h[:, F:])
        return lambda: silu(torch._grouped_mm(x[0].index_select(0, r), w, offs=o))

    Case(t, make, want, peer, rows=lambda x: int(x[3][0, -1]))


def down(name, F, D, E, R, balanced=True, tb=False, terms=1, swiglu_grad=False):
    """Rows that lie in order, times [E, F, D] (or its transpose); `terms` such products added."""
    t = Text(name)
    wsh = [E, D, F] if tb else [E, F, D]
    offsets, counts = t.input([1, E + 1], "i32"), t.input([1, E], "i32")
    pairs = [(t.input([R, F], "bf16"), t.input(wsh, "bf16")) for _ in range(terms)]
    parts = [t.grouped(a, [R, F], w, wsh, offsets, counts, [R, D], tb) for a, w in pairs]
    value = parts[0]
    if terms > 1:
        value, = t.map([(p, [R, D]) for p in parts], [R, D], ["%x = arith.addf %0, %1 : f32"], ["%x"])
    if swiglu_grad:
        g, u = t.input([R, D], "bf16"), t.input([R, D], "bf16")
        r = t.map([(g, [R, D]), (u, [R, D]), (value, [R, D])], [R, D],
                  ["%one = arith.constant 1.0 : f32", "%n = arith.negf %0 : f32", "%x = math.exp %n : f32",
                   "%d = arith.addf %x, %one : f32", "%q = arith.divf %one, %d : f32", "%m = arith.subf %one, %q : f32",
                   "%k = arith.mulf %0, %m : f32", "%j = arith.addf %k, %one : f32", "%i = arith.mulf %j, %q : f32",
                   "%du = arith.mulf %2, %1 : f32", "%dg = arith.mulf %du, %i : f32", "%s = arith.mulf %0, %q : f32",
                   "%e = arith.mulf %2, %s : f32"], ["%dg", "%e"])
        for v in r:
            t.result(v, [R, D], "bf16")
    else:
        t.result(value, [R, D], "bf16")

    def make():
        c, o = sizes(E, R, 2, balanced)
        x = [o[None], c[None]]
        for _ in range(terms):
            x += [padded(random([R, F]), c, o), random(wsh, scale=F**-0.5)]
        return x + ([random([R, D]), random([R, D])] if swiglu_grad else [])

    def want(x):
        import torch
        o = x[0][0].tolist()
        v = sum(by_group(x[2 + 2 * i], x[3 + 2 * i].transpose(1, 2) if tb else x[3 + 2 * i], o) for i in range(terms))
        if not swiglu_grad:
            return [v]
        g, u = f(x[2 + 2 * terms]), f(x[3 + 2 * terms])
        q = torch.sigmoid(g)
        return [v * u * q * (1 + g * (1 - q)), v * g * q]

    def peer(x):
        import torch
        o = x[0][0, 1:].contiguous()
        n = int(o[-1])
        w = [x[3 + 2 * i].transpose(1, 2) if tb else x[3 + 2 * i] for i in range(terms)]
        a = [x[2 + 2 * i][:n] for i in range(terms)]
        if swiglu_grad:
            g, u = x[2 + 2 * terms][:n], x[3 + 2 * terms][:n]

            def backward(v):
                q = torch.sigmoid(f(g))
                return (f(v) * f(u) * q * (1 + f(g) * (1 - q))).bfloat16(), (f(v) * f(g) * q).bfloat16()
            backward = torch.compile(backward)
            return lambda: backward(torch._grouped_mm(a[0], w[0], offs=o))
        if terms == 1:
            return lambda: torch._grouped_mm(a[0], w[0], offs=o)
        return lambda: torch._grouped_mm(a[0], w[0], offs=o).add_(torch._grouped_mm(a[1], w[1], offs=o))

    Case(t, make, want, peer, rows=lambda x: int(x[0][0, -1]))


def outer(name, D, F, E, R, T=0, balanced=True, accumulate="f32", twice=False):
    """Weight gradients: [E, D, F] from rows [R, D] (gathered from T tokens when T) and [R, F]; `twice`: two of them."""
    t = Text(name)
    x = t.input([T or R, D], "bf16")
    if T:
        rows, slot = t.input([R, 1], "i32"), t.input([T, 8], "i32")
    offsets, counts = t.input([1, E + 1], "i32"), t.input([1, E], "i32")
    a = t.gather(x, [T, D], rows, R, slot, [T, 8]) if T else x
    gs = [t.input([R, F], "bf16") for _ in range(2 if twice else 1)]
    for g in gs:
        p = t.outer(a, [R, D], g, [R, F], offsets, counts, [E, D, F])
        t.accumulate(p, [E, D, F], accumulate) if accumulate else t.result(p, [E, D, F], "bf16")

    def make():
        import torch
        c, o = sizes(E, R, 3, balanced)
        if T:
            head = [random([T, D]), row_numbers(T, R, c, o), torch.zeros(T, 8, dtype=torch.int32, device="cuda")]
        else:
            head = [padded(random([R, D]), c, o)]
        return head + [o[None], c[None]] + [padded(random([R, F]), c, o) for _ in gs]

    def left(x):
        return gathered(x[0], x[1]) if T else x[0]

    def want(x):
        import torch
        a, o = left(x), x[3 if T else 1][0].tolist()
        return [torch.stack([f(a[o[e]:o[e + 1]]).t() @ f(g[o[e]:o[e + 1]]) for e in range(E)]) for g in x[5 if T else 3:][:len(gs)]]

    def peer(x):
        import torch
        o = x[3 if T else 1][0, 1:].contiguous()
        n = int(o[-1])
        g = torch.cat(x[5 if T else 3:][:len(gs)], 1)[:n].contiguous()
        if not T:
            a = x[0][:n]
            return lambda: torch._grouped_mm(a.t(), g, offs=o)
        r = x[1][:n, 0].long().clamp(min=0)
        return lambda: torch._grouped_mm(x[0].index_select(0, r).t(), g, offs=o)

    Case(t, make, want, peer)


def spread_outer(name, D, F, E, R, T, top_k, balanced=True, accumulate=None):
    """Weight gradients: [E, D, F] from rows [R, D] and those that slots of T tokens [T, F] name."""
    t = Text(name)
    x, y, slots = t.input([R, D], "bf16"), t.input([T, F], "bf16"), t.input([R, 1], "i32")
    offsets, counts = t.input([1, E + 1], "i32"), t.input([1, E], "i32")
    p = t.outer(x, [R, D], t.spread(y, [T, F], slots, R, top_k), [R, F], offsets, counts, [E, D, F])
    t.accumulate(p, [E, D, F], accumulate) if accumulate else t.result(p, [E, D, F], "bf16")

    def make():
        c, o = sizes(E, R, 3, balanced)
        return [padded(random([R, D]), c, o), random([T, F]), row_numbers(T * top_k, R, c, o), o[None], c[None]]

    def tokens(x):
        import torch
        return torch.where(x[2] >= 0, x[2] // top_k, -1)

    def want(x):
        import torch
        g, o = gathered(x[1], tokens(x)), x[3][0].tolist()
        return [torch.stack([f(x[0][o[e]:o[e + 1]]).t() @ f(g[o[e]:o[e + 1]]) for e in range(E)])]

    def peer(x):
        import torch
        o = x[3][0, 1:].contiguous()
        n = int(o[-1])
        a, r = x[0][:n], tokens(x)[:n, 0].long().clamp(min=0)
        return lambda: torch._grouped_mm(a.t(), x[1].index_select(0, r), offs=o)

    Case(t, make, want, peer)


def correct():
    for ta in (False, True):
        for tb in (False, True):
            dense(f"odd_{'t' if ta else 'n'}{'t' if tb else 'n'}", 1000, 520, 328, ta, tb)
    dense("rows_333", 333, 256, 64)
    dense("deep", 256, 512, 4096, tb=True)
    dense("fancy", 390, 328, 512, fancy=True)
    dense("fancy_even", 512, 512, 256, tb=True, fancy=True)
    dense("narrow_8", 700, 8, 256, out="f32")
    dense("router", 2048, 64, 512, out="f32")
    dense("router_dw", 512, 64, 8192, ta=True, out="f32", accumulate=True)
    dense("dw_f32", 512, 776, 2048, ta=True, out="f32", accumulate=True)
    dense("dw_bf16", 512, 768, 2048, ta=True, out="bf16", accumulate=True)
    pair("pair", 500, 384, 256)
    for b in (True, False):
        n = "" if b else "_skew"
        up("up" + n, 512, 256, 192, 8, 2048, b)
        up("up_h" + n, 512, 264, 384, 8, 4096, b, "h", tb=True)
        down("down" + n, 192, 264, 8, 2048, b)
        down("down_t" + n, 256, 384, 8, 2048, b, tb=True, swiglu_grad=True)
        down("dx2" + n, 200, 512, 8, 2048, b, tb=True, terms=2)
        # Enough rows for lanes: several of a block, columns and depth that tiles do not divide, two terms, two products.
        down("lanes" + n, 256, 4096, 8, 8704, b)
        down("lanes_odd" + n, 200, 4168, 8, 16896, b)
        down("lanes_terms" + n, 128, 1024, 8, 33280, b, tb=True, terms=2)
        down("lanes_deep" + n, 232, 1024, 8, 33280, b, tb=True, terms=2)
        up("lanes_up" + n, 16896, 256, 512, 8, 16896, b, gathers=False)
        outer("dw" + n, 256, 384, 8, 2048, 0, b, None)
        outer("dwg" + n, 264, 192, 8, 2048, 512, b)
        outer("dwg2" + n, 256, 320, 8, 2048, 512, b, "f32", True)
        # Enough rows to cut the depth where experts are skewed; `n` = 2: no expert has more than half of them.
        for b in (b,) if b else (b, 2):
            m = n + ("" if b in (True, False) else "_zipf")
            outer("dw_cut" + m, 256, 384, 8, 33280, 0, b, None)
            outer("dwg_cut" + m, 264, 192, 16, 33280, 4096, b)
            outer("dwg2_cut" + m, 256, 320, 8, 33280, 4096, b, "bf16", True)
            spread_outer("dws_cut" + m, 200, 328, 8, 33280, 16384, 2, b)
        for kind in (None, "bf16", "f32"):
            spread_outer(f"dws_{kind or 'stored'}{n}", 200, 328, 8, 2048, 512, 3, b, kind)


def fast():
    T = 32768
    for d, n in ((2048, 2048), (2048, 6144), (4096, 4096)):
        dense(f"fwd_{d}_{n}", T, n, d)
        dense(f"dx_{d}_{n}", T, d, n, tb=True)
        dense(f"dw_{d}_{n}", d, n, T, ta=True, out="f32", accumulate=True)
    dense("head", T, 50304, 2048)
    dense("head_dx", T, 2048, 50304, tb=True)
    dense("head_dw", 2048, 50304, T, ta=True, out="f32", accumulate=True)
    dense("dw_2048_bf16", 2048, 2048, T, ta=True, out="bf16")
    dense("dw_2048_1024", 2048, 1024, T, ta=True, out="f32", accumulate=True)
    dense("f_router", T, 64, 2048, out="f32")
    dense("f_router_dw", 2048, 64, T, ta=True, out="f32", accumulate=True)
    pair("qk", T, 2048, 2048)
    E, R, D, F = 64, 262592 + 0, 2048, 1024
    up("f_up3", T, D, F, E, R)
    up("f_up1", T, D, F, E, R, True, "h")
    down("f_down", F, D, E, R)
    down("f_dswiglu", D, F, E, R, True, True, 1, True)
    down("f_dx2", F, D, E, R, True, True, 2)
    outer("f_dw_up", D, F, E, R, T)
    outer("f_dw_up2", D, F, E, R, T, True, "f32", True)
    up("f_up3_lying", R, D, F, E, R, gathers=False)
    outer("f_dw_up2_lying", D, F, E, R, 0, True, None, True)
    outer("f_dw_up_bf16", D, F, E, R, T, True, None)
    outer("f_dw_up2_bf16", D, F, E, R, T, True, None, True)
    outer("f_dw_down", F, D, E, R)
    outer("f_dw_down_bf16", F, D, E, R, 0, True, None)
    spread_outer("f_dw_down_spread", F, D, E, R, T, 8)
    E, R, D, F = 8, 65536 + 512, 4096, 14336
    up("b_up3", T, D, F, E, R)
    down("b_down", F, D, E, R)
    down("b_dx", D, F, E, R, True, True)
    down("b_dx2", F, D, E, R, True, True, 2)
    outer("b_dw_up2_bf16", D, F, E, R, T, True, None, True)
    outer("b_dw_down_bf16", F, D, E, R, 0, True, None)
    # Experts of 256: the layers of specs/bench/granular-*.json.
    for E, D, slots in ((128, 768, 40960 * 8), (128, 1536, 24576 * 8), (256, 4096, 32768 * 16)):
        R, F = slots + 63 * E, 256
        down(f"g{D}_down", F, D, E, R)
        down(f"g{D}_dx2", F, D, E, R, True, True, 2)
        down(f"g{D}_down_skew", F, D, E, R, False)
        T, k = {768: (40960, 8), 1536: (24576, 8), 4096: (32768, 16)}[D]
        for b, n in ((True, ""), (k, "_zipf")):
            up(f"g{D}_up3{n}", T, D, F, E, R, b)
            down(f"g{D}_dswiglu{n}", D, F, E, R, b, True, 1, True)
            outer(f"g{D}_dw_up2{n}", D, F, E, R, T, b, None, True)
            spread_outer(f"g{D}_dw_down{n}", F, D, E, R, T, k, b)
    dense("f_fancy", T, 2048, 2048, tb=True, fancy=True)
    dense("f_shallow", T, 2048, 64, tb=True, fancy=True)


SETS = {"correct": correct, "fast": fast}
if __name__ == "__main__":
    SETS[sys.argv[1]]()
    only = sys.argv[2:]
    print("\n".join(str(case.text) for name, case in Case.cases.items() if not only or name in only))
