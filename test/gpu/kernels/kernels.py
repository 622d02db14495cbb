"""Runs compiled dispatches on a GPU: `python3 kernels.py FOLDER KIND [NAME...]`, FOLDER from moec-kernels.

Outputs are NaN before the launch. Kinds: correct: every case against a float32 reference. fast: times beside PyTorch, interleaved.
sustained: each for some seconds without pause, so that the card settles at its power limit: rate, clock, watts, pJ/FLOP.
fp8_correct, fp8_fast, fp8_sustained: the cases of fp8_cases.py instead of matmul_cases.py; op_correct, op_fast: of op_cases.py."""
import ctypes as C
import importlib
import json
import os
import statistics
import sys
import time

import torch

MAP_TYPES = {"bf16": 9, "f32": 7, "f8e4m3": 0}
SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}
cuda = C.CDLL("libcuda.so.1")


def check(code, what):
    if code:
        text = C.c_char_p()
        cuda.cuGetErrorString(code, C.byref(text))
        raise RuntimeError(f"{what}: {code} {text.value}")


class TensorMap(C.Structure):
    _fields_ = [("words", C.c_uint64 * 16)]


def encode(record, pointer):
    room = (C.c_char * 192)()
    at = (C.addressof(room) + 63) // 64 * 64
    n = len(record["dims"])
    dims, box, steps = (C.c_uint64 * n)(*record["dims"]), (C.c_uint32 * n)(*record["box"]), (C.c_uint32 * n)(*[1] * n)
    strides = (C.c_uint64 * max(1, n - 1))(*record["strides"])
    promotion = 2  # 128 bytes of L2
    check(cuda.cuTensorMapEncodeTiled(C.c_void_p(at), MAP_TYPES[record["dtype"]], n, C.c_void_p(pointer + record["offset"]), dims,
                                      strides, box, steps, 0, SWIZZLES[record["swizzle"]], promotion, 0), "tensor map")
    result = TensorMap()
    C.memmove(C.addressof(result), at, 128)
    return result


class Kernel:
    modules, scratch = {}, None

    def __init__(self, folder, record):
        self.record, launch = record, record["launch"]
        path = os.path.join(folder, record["module"])
        if path not in Kernel.modules:
            module = C.c_void_p()
            check(cuda.cuModuleLoadData(C.byref(module), open(path, "rb").read()), "load " + path)
            Kernel.modules[path] = module
        self.function = C.c_void_p()
        check(cuda.cuModuleGetFunction(C.byref(self.function), Kernel.modules[path], record["entry"].encode()), record["symbol"])
        check(cuda.cuFuncSetAttribute(self.function, 8, launch["shared"]), "shared memory")
        need = max(4096, record["scratch"])
        if Kernel.scratch is None or Kernel.scratch.numel() < need:
            Kernel.scratch = torch.zeros(need, dtype=torch.uint8, device="cuda")

    def bind(self, tensors):
        launch = self.record["launch"]
        args = [C.c_void_p(t.data_ptr()) for t in tensors] + [C.c_void_p(Kernel.scratch.data_ptr())]
        args += [encode(m, tensors[m["param"]].data_ptr()) for m in launch["maps"]]
        array = (C.c_void_p * len(args))(*[C.cast(C.byref(a), C.c_void_p) for a in args])

        def run():
            check(cuda.cuLaunchKernel(self.function, self.record["grid"], 1, 1, launch["threads"], 1, 1, launch["shared"],
                                      C.c_void_p(torch.cuda.current_stream().cuda_stream), array, None), "launch")
        run.keep = (args, array, tensors)
        return run


def prepare(case, record):
    """The kernel's params: what the case makes, then states and results. Also the numbers of those that it writes."""
    tensors, written = list(case.make()), []
    for param in record["params"][len(tensors):]:
        dtype = {"bf16": torch.bfloat16, "f8E4M3FN": torch.float8_e4m3fn, "i32": torch.int32}.get(param["dtype"], torch.float32)
        shape = param["shape"]
        nothing = -7 if dtype == torch.int32 else float("nan")
        t = torch.randn(*shape, device="cuda").to(dtype) if param["read"] else torch.full(shape, nothing, device="cuda").to(dtype)
        written.append(len(tensors))
        tensors.append(t)
    return tensors, written


def compare(case, record, tensors, written, before, wants):
    worst, problem = 0.0, ""
    order = [i for i in written if record["params"][i]["kind"] == "state"] + [i for i in written if record["params"][i]["kind"] == "result"]
    rows = case.rows(tensors) if case.rows else None
    for i, want in zip(order, wants):
        got, want = tensors[i].float(), want.float()
        if before[i] is not None:
            want = want + before[i].float()
        if rows is not None:
            if not torch.isnan(got[rows:]).all():
                problem = "writes rows behind the last group"
            got, want = got[:rows], want[:rows]
        if torch.isnan(got).any():
            problem = f"NaN x {int(torch.isnan(got).sum())} of {got.numel()} in param {i}"
        size = torch.linalg.vector_norm(want)
        error = (torch.linalg.vector_norm(got - want) / (size if size > 0 else 1)).item()
        limit = case.limit or (4e-3 if record["params"][i]["dtype"] == "bf16" else 1e-4)
        if not error < limit:
            problem = problem or f"error {error:.1e} in param {i}"
        worst = max(worst, error)
    return worst, problem


def correct(case, record, folder):
    tensors, written = prepare(case, record)
    before = {i: tensors[i].clone() if record["params"][i]["read"] else None for i in written}
    run = Kernel(folder, record).bind(tensors)
    run()
    torch.cuda.synchronize()
    worst, problem = compare(case, record, tensors, written, before, case.want(tensors))
    first = [tensors[i].clone() for i in written]
    for i in written:
        if before[i] is not None:
            tensors[i].copy_(before[i])
    run()
    torch.cuda.synchronize()
    if not all(torch.equal(a.view(torch.uint8), tensors[i].view(torch.uint8)) for a, i in zip(first, written)):
        problem = problem or "two launches differ"
    if Kernel.scratch[:4096].any():
        problem = problem or "counters are not zero"
    print(f"{case.text.name:16} error {worst:.1e} {problem or 'ok'}", flush=True)
    return not problem


def fast(case, record, folder, seconds=0.4):
    tensors, _ = prepare(case, record)
    ours, peer = Kernel(folder, record).bind(tensors), case.peer and case.peer(tensors)
    flops = record["flops"]
    if case.rows and case.rows(tensors):
        flops *= case.rows(tensors) / record["params"][-1]["shape"][0]
    programs = [p for p in (ours, peer) if p]
    for p in programs:
        p()
        p()
    torch.cuda.synchronize()
    times = [[] for _ in programs]
    end = time.time() + seconds
    while time.time() < end or len(times[0]) < 5:
        for p, list_ in zip(programs, times):
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            p()
            b.record()
            torch.cuda.synchronize()
            list_.append(a.elapsed_time(b))
    ms = [statistics.median(t) for t in times]
    text = f"{case.text.name:16} {ms[0]:8.3f} ms {flops / ms[0] / 1e9:6.0f} TFLOP/s"
    if peer:
        text += f"   torch {ms[1]:8.3f} ms {flops / ms[1] / 1e9:6.0f}   x {ms[1] / ms[0]:.3f}"
    print(text, flush=True)
    return True


class Meter:
    """Clock in MHz and energy in joules, from the card's own counters."""

    def __init__(self):
        self.nvml, self.device = C.CDLL("libnvidia-ml.so.1"), C.c_void_p()
        check(self.nvml.nvmlInit_v2(), "NVML")
        check(self.nvml.nvmlDeviceGetHandleByIndex_v2(0, C.byref(self.device)), "NVML device")

    def clock(self):
        value = C.c_uint()
        check(self.nvml.nvmlDeviceGetClockInfo(self.device, 1, C.byref(value)), "clock")
        return value.value

    def energy(self):
        value = C.c_ulonglong()
        check(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.device, C.byref(value)), "energy")
        return value.value / 1e3


def sustain(program, flops, meter, seconds):
    """One line of figures; the first third of the time only warms up."""
    program()
    torch.cuda.synchronize()
    start = time.time()
    program()
    torch.cuda.synchronize()
    batch = max(1, int(0.02 / (time.time() - start)))
    launches, clocks, begin = 0, [], None
    while True:
        now = time.time()
        if begin is None and now - start > seconds / 3:
            begin, energy = now, meter.energy()
        if now - start > seconds:
            break
        for _ in range(batch):
            program()
        clocks.append(meter.clock())
        torch.cuda.synchronize()
        if begin is not None:
            launches += batch
    joules, took = meter.energy() - energy, now - begin
    clock = statistics.median(clocks[len(clocks) // 2:])
    return (f"{took / launches * 1e3:8.3f} ms {flops * launches / took / 1e12:6.0f} TFLOP/s {clock:5.0f} MHz {joules / took:4.0f} W "
            f"{joules / (flops * launches) * 1e12:6.3f} pJ/FLOP")


def sustained(case, record, folder, seconds=1.5):
    tensors, _ = prepare(case, record)
    ours, peer = Kernel(folder, record).bind(tensors), case.peer and case.peer(tensors)
    flops, meter = record["flops"], Meter()
    if case.rows and case.rows(tensors):
        flops *= case.rows(tensors) / record["params"][-1]["shape"][0]
    print(f"{case.text.name:16} ours  {sustain(ours, flops, meter, seconds)}", flush=True)
    if peer:
        print(f"{'':16} torch {sustain(peer, flops, meter, seconds)}", flush=True)
    return True


KINDS = {"correct": correct, "fast": fast, "sustained": sustained}


def main():
    folder, kind, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.zeros(1, device="cuda")
    family, _, rest = kind.partition("_")
    module, kind = (family + "_cases", rest) if rest else ("matmul_cases", kind)
    cases = importlib.import_module(module)
    cases.SETS["correct" if kind == "correct" else "fast"]()
    ok = True
    for record in json.load(open(os.path.join(folder, "kernels.json"))):
        case = cases.Case.cases.get(record["symbol"])
        if case is None or (names and record["symbol"] not in names):
            continue
        print(f"{record['symbol']} ...", end="\r", flush=True)  # names the one that hangs
        try:
            ok &= KINDS[kind](case, record, folder)
        except RuntimeError as error:
            print(f"{record['symbol']:16} FAILED: {str(error)[:200]}", flush=True)
            return 1
        torch.cuda.empty_cache()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
