"""Dispatches as text, and what they must compute: shared by the machine that compiles and the one that has the GPU.

A case knows its dispatch (text for moec-kernels) and, on the GPU machine, its inputs, its reference in torch and the
PyTorch program that does the same. torch is only imported there."""

F8 = "f8E4M3FN"
NARROW = ("bf16", F8)


def tensor(shape, dtype):
    return "tensor<" + "x".join(map(str, shape)) + "x" + dtype + ">"


class Text:
    """One function with one dispatch of a kind. Values are SSA names; computing happens in f32."""

    def __init__(self, name, kind="matmul"):
        self.name, self.kind, self.inputs, self.body, self.results, self.states = name, kind, [], [], [], []
        self.count = 0

    def fresh(self):
        self.count += 1
        return f"%v{self.count}"

    def input(self, shape, dtype):
        name = f"%p{len(self.inputs)}"
        self.inputs.append((shape, dtype))
        if dtype not in NARROW:
            return name
        wide = self.fresh()
        self.body.append(f"{wide} = moe.cast {name} : {tensor(shape, dtype)} -> {tensor(shape, 'f32')}")
        return wide

    def op(self, text):
        value = self.fresh()
        self.body.append(f"{value} = {text}")
        return value

    def matmul(self, a, ashape, b, bshape, out, ta=False, tb=False):
        flags = ("ta " if ta else "") + ("tb " if tb else "")
        return self.op(f"moe.matmul {flags}{a}, {b} : {tensor(ashape, 'f32')}, {tensor(bshape, 'f32')} -> {tensor(out, 'f32')}")

    def gather(self, x, shape, rows, count, slot=None, slots=None):
        back = f" slot_row {slot} : {tensor(slots, 'i32')}" if slot else ""
        return self.op(f"moe.gather_rows {x}, {rows}{back} : {tensor(shape, 'f32')}, "
                       f"{tensor([count, 1], 'i32')} -> {tensor([count, shape[1]], 'f32')}")

    def spread(self, x, shape, slots, count, top_k):
        return self.op(f"moe.spread_rows {x}, {slots} top_k {top_k} : {tensor(shape, 'f32')}, "
                       f"{tensor([count, 1], 'i32')} -> {tensor([count, shape[1]], 'f32')}")

    def grouped(self, a, ashape, w, wshape, offsets, counts, out, tb=False, scales=None):
        """scales: values of [rows, 1] and of [experts, columns]."""
        e = wshape[0]
        quantised = f" scales {scales[0]}, {scales[1]} : {tensor([ashape[0], 1], 'f32')}, {tensor([e, out[1]], 'f32')}" if scales else ""
        return self.op(f"moe.grouped_matmul {'tb ' if tb else ''}{a}, {w}, {offsets}, {counts}{quantised} : {tensor(ashape, 'f32')}, "
                       f"{tensor(wshape, 'f32')}, {tensor([1, e + 1], 'i32')}, {tensor([1, e], 'i32')} -> {tensor(out, 'f32')}")

    def outer(self, a, ashape, b, bshape, offsets, counts, out):
        e = out[0]
        return self.op(f"moe.grouped_outer {a}, {b}, {offsets}, {counts} : {tensor(ashape, 'f32')}, {tensor(bshape, 'f32')}, "
                       f"{tensor([1, e + 1], 'i32')}, {tensor([1, e], 'i32')} -> {tensor(out, 'f32')}")

    def map(self, inputs, out, lines, results):
        """inputs: (value, shape); lines use %0, %1 ... for the scalars and name what they make; results: names."""
        value = self.fresh()
        args = ", ".join(f"%s{i}: f32" for i in range(len(inputs)))
        text = "\n".join("      " + line for line in lines)
        for i in reversed(range(len(inputs))):
            text = text.replace(f"%{i} ", f"%s{i} ").replace(f"%{i},", f"%s{i},")
        types = ", ".join([tensor(out, "f32")] * len(results))
        many = len(results) > 1
        self.body.append(f"{value}{':' + str(len(results)) if many else ''} = moe.map({', '.join(v for v, _ in inputs)}) : "
                         f"({', '.join(tensor(s, 'f32') for _, s in inputs)}) -> {'(' + types + ')' if many else types} {{\n"
                         f"    ^bb0({args}):\n{text}\n      moe.yield {', '.join(results)} : {', '.join(['f32'] * len(results))}\n    }}")
        return [f"{value}#{i}" for i in range(len(results))] if many else [value]

    def result(self, value, shape, dtype):
        if dtype in NARROW:
            value = self.op(f"moe.cast {value} : {tensor(shape, 'f32')} -> {tensor(shape, dtype)}")
        self.results.append((value, shape, dtype))

    def accumulate(self, value, shape, dtype="f32"):
        name = f"{self.name}.sum{len(self.states)}"
        if dtype == "bf16":
            value = self.op(f"moe.cast {value} : {tensor(shape, 'f32')} -> {tensor(shape, 'bf16')}")
        self.states.append((name, shape, dtype))
        self.body.append(f'moe.accumulate @"{name}", {value} : {tensor(shape, dtype)}')

    def __str__(self):
        states = "".join(f'moe.state @"{n}" gradient : {tensor(s, d)}\n' for n, s, d in self.states)
        types = [tensor(s, d) for s, d in self.inputs]
        outs = [tensor(s, d) for _, s, d in self.results]
        args = ", ".join(f"%p{i} = %a{i}" for i in range(len(types)))
        params = ", ".join(f"%a{i}: {t}" for i, t in enumerate(types))
        head = f"%r:{len(outs)} = " if len(outs) > 1 else "%r = " if outs else ""
        values = ", ".join(v for v, _, _ in self.results)
        end = f"moe.yield {values} : {', '.join(outs)}" if outs else "moe.yield"
        body = "\n".join("    " + line for line in self.body + [end])
        result = outs[0] if len(outs) == 1 else "(" + ", ".join(outs) + ")"
        return (f'{states}func.func @"{self.name}"({params}) {{\n  {head}moe.dispatch "{self.kind}" ({args}) : ({", ".join(types)}) -> '
                f"{result} {{\n{body}\n  }}\n  return\n}}\n")
