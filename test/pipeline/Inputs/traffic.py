"""Bytes that each function reads and writes once per launch, from `moec inspect --to=dispatch` on standard input.

Counted are the inputs, results and state accesses of every dispatch, times the passes of the repeats around it; rows that
a product gathers count as many times as they are gathered. Options: --each prints every dispatch."""
import re
import sys

WIDTH = {"f64": 8, "f32": 4, "bf16": 2, "i32": 4, "i64": 8}


def size(text):
    dims = text.split("x")
    count = 1
    for dim in dims[:-1]:
        count *= int(dim)
    return count * WIDTH[dims[-1]]


TENSOR = re.compile(r"tensor<([0-9x]+x(?:f64|f32|bf16|i32|i64))>")
totals, each = {}, "--each" in sys.argv
function, passes, dispatch = None, [], None


def report():
    read, written = dispatch["read"], dispatch["written"]
    count = 1
    for number in passes:
        count *= number
    total = totals.setdefault(function, [0, 0, 0])
    total[0] += read * count
    total[1] += written * count
    total[2] += 1
    if each:
        print(f"{function:18} {count:3} x {read / 1e6:10.1f} + {written / 1e6:10.1f} MB  {dispatch['kind']:12} {dispatch['ops']}")


for line in sys.stdin:
    indent = len(line) - len(line.lstrip())
    text = line.strip()
    if match := re.match(r"func.func @(\w+)\(", text):
        function, passes = match[1], []
    elif match := re.search(r"moe\.repeat (?:reverse )?%\w+ of (\d+)", text):
        passes.append(int(match[1]))
        repeat_indent = indent
    elif match := re.search(r'moe\.dispatch "(\w+)"', text):
        inputs, results = text.split(") : (", 1)[1].split(") -> ", 1)
        dispatch = {"kind": match[1], "indent": indent, "ops": "", "gathered": {},
                    "read": sum(map(size, TENSOR.findall(inputs))), "written": sum(map(size, TENSOR.findall(results)))}
    elif text == "}" and dispatch and indent == dispatch["indent"]:
        report()
        dispatch = None
    elif text == "}" and passes and not dispatch and indent == repeat_indent:
        passes.pop()
    elif dispatch and indent == dispatch["indent"] + 2 and (match := re.search(r"moe\.(\w+)", text)):
        op, types = match[1], TENSOR.findall(text)
        if op not in ("yield", "cast", "read"):
            dispatch["ops"] += op + " "
        if op in ("read", "accumulate"):
            dispatch["read"] += size(types[-1])
        if op in ("write", "accumulate"):
            dispatch["written"] += size(types[-1])
        if op == "gather_rows":
            dispatch["read"] += size(types[-1]) - size(types[-3])

for name, (read, written, count) in totals.items():
    print(f"{name}: {count} dispatches, {read / 1e9:.2f} GB read, {written / 1e9:.2f} GB written, {(read + written) / 1e9:.2f} GB")
