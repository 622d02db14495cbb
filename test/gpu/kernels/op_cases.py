"""Selection, plans and decompositions: `python3 op_cases.py correct|fast > FILE.mlir`."""
import sys

from dispatchlib import Text, tensor
from matmul_cases import Case, f, random


def on():
    import torch
    return torch.ones(1, 1, device="cuda")


def column_kth(name, N, E, n, G=1, dtype="f32", row=False):
    t = Text(name, "column_kth")
    x, rows = t.input([N, E], dtype), f", {tensor([G, E], 'i32')}" if row else ""
    q = t.op(f"moe.column_kth {x} n {n} : {tensor([N, E], 'f32')} -> {tensor([G, E], 'f32')}{rows}")
    t.result(q, [G, E], "f32")
    if row:
        t.body[-1] = t.body[-1].replace(f"{q} =", f"{q}, {q}r =")
        t.result(q + "r", [G, E], "i32")

    def kth(x):
        import torch
        return torch.topk(x[0].view(G, N // G, E), n, dim=1)[0][:, -1]

    def want(x):
        return [f(kth(x))] + ([x[0].view(G, N // G, E).sort(1, descending=True, stable=True)[1][:, n - 1].int()] if row else [])

    Case(t, lambda: [random([N, E], dtype)], want, lambda x: lambda: kth(x), limit=1e-9)


def combine(name, N, D, K, each):
    """Tokens with a slot for every expert, of which `each` are taken."""
    t, R = Text(name, "row"), N * each
    rows, slots, weights = t.input([R, D], "bf16"), t.input([N, K], "i32"), t.input([N, K], "f32")
    y = t.op(f"moe.combine_rows {rows}, {slots} weights {weights} : {tensor([N, K], 'f32')} : {tensor([R, D], 'f32')}, "
             f"{tensor([N, K], 'i32')} -> {tensor([N, D], 'f32')}")
    t.result(y, [N, D], "bf16")

    def make():
        import torch
        slots = torch.full([N, K], -1, dtype=torch.int32, device="cuda")
        chosen = torch.rand(N, K, device="cuda").argsort(1)[:, :each].sort(1)[0]
        slots.scatter_(1, chosen, torch.randperm(R, device="cuda").int().view(N, each))
        return [random([R, D]), slots, random([N, K], "f32")]

    def want(x):
        import torch
        y = torch.zeros(N, D, device="cuda")
        for k in range(K):
            there = x[1][:, k] >= 0
            y[there] += x[2][there, k, None] * f(x[0][x[1][there, k].long()])
        return [y]

    Case(t, make, want)


def sinkhorn(name, N, E, xi, rounds):
    t = Text(name, "sinkhorn")
    c, now = t.input([N, E], "f32"), t.input([1, 1], "f32")
    t.result(t.op(f"moe.sinkhorn {c} if {now} xi {xi:e} max_iters {rounds} tol 0.0 : {tensor([N, E], 'f32')}, {tensor([1, 1], 'f32')}"),
             [N, E], "f32")

    def plan(x):
        import torch
        k = x[0].double() / xi
        u = torch.zeros(N, 1, device="cuda", dtype=torch.float64)
        for _ in range(rounds):
            v = torch.log(torch.tensor(N / E)) - torch.logsumexp(k + u, 0, keepdim=True)
            u = -torch.logsumexp(k + v, 1, keepdim=True)
        return torch.exp(k + u + v)

    Case(t, lambda: [random([N, E], "f32").sigmoid(), on()], lambda x: [plan(x)], lambda x: lambda: plan(x))


def zeros(name, N, E):
    """A plan that nobody asks for."""
    t = Text(name, "sinkhorn")
    c, now = t.input([N, E], "f32"), t.input([1, 1], "f32")
    t.result(t.op(f"moe.sinkhorn {c} if {now} xi 0.1 max_iters 9 tol 0.0 : {tensor([N, E], 'f32')}, {tensor([1, 1], 'f32')}"),
             [N, E], "f32")

    def want(x):
        import torch
        return [torch.full([N, E], 0.0, device="cuda")]

    Case(t, lambda: [random([N, E], "f32"), on() * 0], want, lambda x: lambda: x[2].zero_())


def eigh(name, B, n):
    t = Text(name, "eigh")
    a, p, now = t.input([B, n, n], "f32"), t.input([B, n, n], "f32"), t.input([1, 1], "f32")
    q = t.op(f"moe.eigh {a} previous {p} if {now} : {tensor([B, n, n], 'f32')}, {tensor([1, 1], 'f32')} -> {tensor([B, n], 'f32')}")
    t.body[-1] = t.body[-1].replace(f"{q} =", f"{q}, {q}l =")
    t.result(q, [B, n, n], "f32")
    t.result(q + "l", [B, n], "f32")

    def make():
        import torch
        q = torch.linalg.qr(torch.randn(B, n, n, device="cuda", dtype=torch.float64))[0]
        a = (q * torch.linspace(3, 1, n, device="cuda", dtype=torch.float64)) @ q.transpose(1, 2)
        return [((a + a.transpose(1, 2)) / 2).float(), random([B, n, n], "f32"), on()]

    def want(x):
        """A V / values is V, and of norm 1, when V is what it should be."""
        import torch
        a, v, values = x[0].double(), x[3].double(), torch.linalg.eigvalsh(x[0].double()).flip(1)
        image = a @ v / values[:, None]
        return [image / torch.linalg.vector_norm(image, dim=1, keepdim=True), values]

    def peer(x):
        import torch
        return lambda: torch.linalg.eigh(x[0])

    Case(t, make, want, peer, limit=1e-4)


def qr(name, B, m, n):
    t = Text(name, "qr")
    a, p, now = t.input([B, m, n], "f32"), t.input([B, m, n], "f32"), t.input([1, 1], "f32")
    t.result(t.op(f"moe.qr {a} previous {p} if {now} : {tensor([B, m, n], 'f32')}, {tensor([1, 1], 'f32')}"), [B, m, n], "f32")

    def make():
        import torch
        a = random([B, m, n], "f32")
        return [a + 4 * m**0.5 * torch.eye(m, n, device="cuda"), random([B, m, n], "f32"), on()]

    def want(x):
        import torch
        q, r = torch.linalg.qr(x[0].double())
        return [q * torch.sign(torch.diagonal(r, dim1=1, dim2=2))[:, None]]

    def peer(x):
        import torch
        return lambda: torch.linalg.qr(x[0])

    Case(t, make, want, peer, limit=1e-4)


def correct():
    column_kth("kth", 4096, 8, 100)
    column_kth("kth_groups", 3000, 5, 7, 10)
    column_kth("kth_row", 4096, 8, 100, 1, "bf16", True)
    column_kth("kth_bf16", 32768, 64, 4096, 1, "bf16")
    column_kth("kth_few_rows", 8, 5000, 3, 1, "f32", True)
    column_kth("kth_long", 70000, 3, 30000)
    combine("combine_few", 300, 256, 64, 5)
    combine("combine_wide", 50, 3000, 64, 3)
    sinkhorn("plan", 1000, 16, 0.1, 20)
    sinkhorn("plan_odd", 333, 37, 0.5, 5)
    zeros("plan_zeros", 5000, 33)
    eigh("eigh", 3, 64)
    eigh("eigh_odd", 1, 129)
    qr("qr", 2, 128, 128)
    qr("qr_tall", 2, 300, 70)


def fast():
    column_kth("f_kth", 32768, 64, 4096)
    column_kth("f_kth_bf16", 32768, 64, 4096, 1, "bf16")
    column_kth("f_kth_row", 32768, 64, 4096, 1, "f32", True)
    column_kth("f_kth_few_rows", 8, 262144, 2, 1, "f32", True)
    column_kth("f_kth_128", 32768, 128, 2048)
    combine("f_combine_64", 32768, 2048, 64, 8)
    combine("f_combine_8", 32768, 2048, 8, 8)
    sinkhorn("f_plan", 32768, 64, 0.05, 20)
    zeros("f_plan_zeros", 32768, 64)
    eigh("f_eigh_256", 8, 256)
    eigh("f_eigh_1024", 4, 1024)
    qr("f_qr_256", 8, 256, 256)
    qr("f_qr_1024", 4, 1024, 1024)


SETS = {"correct": correct, "fast": fast}
if __name__ == "__main__":
    SETS[sys.argv[1]]()
    only = sys.argv[2:]
    print("\n".join(str(case.text) for name, case in Case.cases.items() if not only or name in only))
