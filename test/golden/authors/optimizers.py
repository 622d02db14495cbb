"""The optimizers of published code, written anew in float64 numpy from reading it: one class for each, one matrix each,
[out, in] as there. Source and version stand with each; README.md has the table. What is not bf16 or f32 on purpose
elsewhere is f64 here.
"""
import math
import numpy as np

T = np.transpose


def norm(x):
    return math.sqrt((x * x).sum())


def iterate(x, table, start):
    """Newton-Schulz as all of them have it: the short side first, start(norm) as divisor, then a x + (b A + c A A) x."""
    turned = x.shape[0] > x.shape[1]
    x = T(x) if turned else x
    x = x / start(norm(x))
    for a, b, c in table:
        gram = x @ T(x)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return T(x) if turned else x


KELLER = [(3.4445, -4.7750, 2.0315)] * 5
DION = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012)]
EXPRESS = [(8.28721201814563, -23.595886519098837, 17.300387312530933),
           (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
           (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
           (3.3184196573706015, -2.488488024314874, 0.51004894012372),
           (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
           (1.891301407787398, -1.2679958271945868, 0.37680408948524835)]
EXPRESS = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in EXPRESS]


class AdamW:
    """torch.optim.AdamW, single tensor, not capturable."""

    def __init__(self, betas=(0.9, 0.95), eps=1e-8, decay=0.1):
        self.betas, self.eps, self.decay, self.t, self.m, self.v = betas, eps, decay, 0, 0, 0

    def moments(self, g):
        b1, b2 = self.betas
        self.t += 1
        self.m = self.m + (1 - b1) * (g - self.m)
        self.v = b2 * self.v + (1 - b2) * g * g
        return 1 - b1**self.t, 1 - b2**self.t

    def step(self, w, g, lr):
        w = w * (1 - lr * self.decay)
        c1, c2 = self.moments(g)
        return w - lr / c1 * self.m / (np.sqrt(self.v) / math.sqrt(c2) + self.eps)


class AdamH(AdamW):
    """microsoft/ArchScale lit_gpt/optim/scalar_opts.py, hyperball, without decay."""

    def step(self, w, g, lr):
        c1, c2 = self.moments(g)
        u = self.m / (np.sqrt(self.v) / math.sqrt(c2) + self.eps) / c1
        return on_ball(w, u, lr, self.eps)


def on_ball(w, u, lr, eps):
    was = norm(w)
    w = w - lr * (u * (was / max(norm(u), eps)))
    return w * (was / max(norm(w), eps))


class Muon:
    """KellerJordan/Muon muon.py."""

    def __init__(self, momentum=0.95, decay=0.1):
        self.momentum, self.decay, self.m = momentum, decay, 0

    def step(self, w, g, lr):
        self.m = self.m + (1 - self.momentum) * (g - self.m)
        u = g + self.momentum * (self.m - g)
        u = iterate(u, KELLER, lambda n: n + 1e-7) * max(1, g.shape[0] / g.shape[1]) ** 0.5
        return w * (1 - lr * self.decay) - lr * u


class Moonlight(Muon):
    """MoonshotAI/Moonlight examples/toy_train.py."""

    def step(self, w, g, lr):
        self.m = self.momentum * self.m + g
        u = iterate(g + self.momentum * self.m, KELLER, lambda n: n + 1e-7)
        return w * (1 - lr * self.decay) - lr * 0.2 * math.sqrt(max(g.shape)) * u


class MuonH(Muon):
    """microsoft/ArchScale lit_gpt/optim/muon.py with use_muonh, epsilon 1e-8, without decay."""

    def step(self, w, g, lr):
        self.m = self.momentum * self.m + g
        u = iterate(self.momentum * self.m + g, DION, lambda n: n + 1e-8)
        return on_ball(w, u, lr, 1e-8)


class GaLore(AdamW):
    """jiaweizzhao/GaLore galore_torch, proj_type std. Its singular vectors have the sign that the decomposition gives
    them; here a new one points to the side of the one that it replaces."""

    def __init__(self, rank, gap, scale, decay, **keys):
        super().__init__(decay=decay, **keys)
        self.rank, self.gap, self.scale, self.basis = rank, gap, scale, None

    def step(self, w, g, lr):
        right = g.shape[0] >= g.shape[1]
        if self.t % self.gap == 0:
            left_vectors, _, right_vectors = np.linalg.svd(g, full_matrices=False)
            basis = T(right_vectors)[:, : self.rank] if right else left_vectors[:, : self.rank]
            if self.basis is not None:
                basis = basis * np.where((basis * self.basis).sum(0) < 0, -1, 1)
            self.basis = basis
        c1, c2 = self.moments(g @ self.basis if right else T(self.basis) @ g)
        u = self.m / (np.sqrt(self.v) + self.eps)
        u = (u @ T(self.basis) if right else self.basis @ u) * self.scale
        w = w - lr * math.sqrt(c2) / c1 * u
        return w - lr * self.decay * w


class Soap(AdamW):
    """nikhilvyas/SOAP soap.py, defaults beside those given."""

    def __init__(self, every=10, **keys):
        super().__init__(**keys)
        self.every, self.factors, self.bases = every, None, None

    def rotate(self, x):
        return T(self.bases[0]) @ x @ self.bases[1]

    def back(self, x):
        return self.bases[0] @ x @ T(self.bases[1])

    def change(self, g, c1, c2):
        return self.m / (np.sqrt(self.v) + self.eps) * (math.sqrt(c2) / c1)

    def step(self, w, g, lr):
        squares = (g @ T(g), T(g) @ g)
        if self.bases is None:
            self.factors = [(1 - self.betas[1]) * s for s in squares]
            self.bases = [np.linalg.eigh(f)[1][:, ::-1] for f in self.factors]
            self.m, self.v = np.zeros_like(g), np.zeros_like(g)
            return w
        c1, c2 = self.moments(self.rotate(g))
        w = w - lr * self.back(self.change(self.rotate(g), c1, c2))
        w = w - lr * self.decay * w
        away = self.back(self.m)
        self.factors = [f + (1 - self.betas[1]) * (s - f) for f, s in zip(self.factors, squares)]
        if self.t % self.every == 0:
            for side in (0, 1):
                q = self.bases[side]
                order = np.argsort(-np.diag(T(q) @ self.factors[side] @ q), kind="stable")
                self.v = np.take(self.v, order, axis=side)
                self.bases[side] = np.linalg.qr(self.factors[side] @ q[:, order])[0]
        self.m = self.rotate(away)
        return w


class Lite:
    """What SHUCHENZHU/LITE muonlite.py decides once for all parameters: ratios and betas of a step."""

    def __init__(self, steps, warmup, floor, cosine):
        self.steps, self.warmup, self.floor, self.cosine = steps, warmup, floor, cosine
        self.flat = 0.5 if cosine else 2 * warmup / steps

    def beta(self, step, first, last):
        end = int(self.flat * (self.steps - self.warmup)) + self.warmup
        if end <= 0 or step >= end:
            return last
        return first if step <= self.warmup else first + (last - first) * (step - self.warmup) / (end - self.warmup)

    def rate(self, step, floor):
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / (self.steps - self.warmup)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    def ratio(self, step, chi, mode):
        """mode 0: wsd; 1: matrices under a cosine; 2: embedding, head and norms under a cosine."""
        if mode == 0:
            return chi
        if mode == 1 and step <= self.warmup:
            return 1.0
        ratio = chi * self.rate(step, self.floor / chi) / (self.rate(step, self.floor) + 1e-9)
        rise = 1 + (step - self.warmup) / (self.steps - self.warmup) * (chi - 1) / self.flat
        return min(ratio, rise) if mode == 1 else ratio


class MuonLite:
    """SHUCHENZHU/LITE muonlite.py, use_muon 1; theta 0.95, six steps."""

    def __init__(self, lite, beta1, beta2, chi, mode, share=0.1, decay=0.1):
        self.lite, self.betas, self.chi, self.mode, self.share, self.decay = lite, (beta1, beta2), chi, mode, share, decay
        self.m, self.t, self.threshold = 0, 0, None

    def step(self, w, g, lr):
        theta, short = 0.95, min(g.shape)
        if self.threshold is None:
            self.threshold = 1 / math.sqrt(short)
        k = min(int(self.share * short) + 1, short - 1)
        chi = self.lite.ratio(self.t, self.chi, self.mode)
        beta1, beta2 = self.betas[0], self.lite.beta(self.t, *self.betas)
        sign = lambda x: iterate(x, EXPRESS, lambda n: 1.01 * n + 1e-8)
        self.m = theta * self.m + (1 - theta) * g
        u = self.m + g * (1 - theta) / theta
        o = sign(u)
        sharp = (o + sign(u / (norm(u) * self.threshold + 1e-9) - o)) / 2
        self.threshold = min(1, self.threshold * (1.05 if norm(sharp) > math.sqrt(k) else 0.95))
        flat = np.eye(g.shape[1]) - T(sharp) @ sharp
        own = sign(g)
        o = o + beta1 * own + (beta2 - beta1) * own @ flat
        o = o + (chi - 1) * o @ flat
        w, old = w * (1 - lr * self.decay), w
        self.t += 1
        return w - lr * self.decay * (chi - 1) * old @ flat - 0.2 * lr * math.sqrt(max(g.shape)) * o


class Mask:
    """SHUCHENZHU/LITE muonlite.py, rank_v and what moves its bounds."""

    def __init__(self, share, smooth=0.1):
        self.share, self.smooth, self.high, self.low = share, min(1 - share, smooth), 1.0, 0.5

    def of(self, v):
        high, low, n = self.high * v.mean(), self.low * v.mean(), v.size
        mask = np.where(v >= high, 1, np.where(v >= low, (v - low) / (high - low + 1e-12), 0))
        self.low *= 1.05 if (v >= low).sum() / n > self.share + self.smooth else 0.95
        self.high *= 1.05 if (v >= high).sum() / n > self.share else 0.95
        self.low = min(self.low, 0.95 * self.high)
        return np.zeros_like(v) if self.share < 1e-5 else np.ones_like(v) if self.share > 1 - 1e-5 else mask


class AdamWLite(AdamW):
    """SHUCHENZHU/LITE muonlite.py, use_muon 0."""

    def __init__(self, lite, chi, mode, share=0.1, **keys):
        super().__init__(**keys)
        self.lite, self.chi, self.mode, self.mask = lite, chi, mode, Mask(share)

    def step(self, w, g, lr):
        chi = self.lite.ratio(self.t, self.chi, self.mode)
        c1, c2 = self.moments(g)
        flat = 1 - self.mask.of(self.v)
        u = self.m / (np.sqrt(self.v) + self.eps)
        u = u + (chi - 1) * flat * u
        w, old = w * (1 - lr * self.decay), w
        return w - lr * self.decay * (chi - 1) * flat * old - lr / (c1 / math.sqrt(c2)) * u


class SoapLite(Soap):
    """No public code: the definition of docs/methods/soap.md, around the published parts of both."""

    def __init__(self, lite, beta1, beta2, chi, mode, share=0.1, **keys):
        super().__init__(**keys)
        self.lite, self.gains, self.chi, self.mode, self.mask = lite, (beta1, beta2), chi, mode, Mask(share)

    def change(self, g, c1, c2):
        flat = 1 - self.mask.of(self.v)  # self.t counts this step, and the first has only made the bases
        beta1, beta2 = self.gains[0], self.lite.beta(self.t, *self.gains)
        gain = beta1 + flat * (beta2 - beta1)
        root = (np.sqrt(self.v) + self.eps) / math.sqrt(c2)
        return (self.m / c1 + gain * g) / root * (1 + (self.lite.ratio(self.t, self.chi, self.mode) - 1) * flat)
