"""Just enough of the safetensors format for the goldens: F64, I32 and I64, whole files. Public format: u64 header length, JSON, data."""
import json, struct
import numpy as np

NAMES = {"float64": "F64", "int32": "I32", "int64": "I64"}
TYPES = {"F64": "<f8", "I32": "<i4", "I64": "<i8"}


def write(path, tensors):
    """Tensors lie in the order of the dictionary, without holes; the header is padded so that the data starts at a multiple of 8."""
    header, blobs, at = {}, [], 0
    for name, array in tensors.items():
        kind = NAMES[str(array.dtype)]
        blob = np.ascontiguousarray(array, TYPES[kind]).tobytes()
        assert len(blob) % 8 == 0, f"{name} would leave the next tensor unaligned"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    start = 8 + struct.unpack_from("<Q", data)[0]
    result = {}
    for name, entry in json.loads(data[8:start]).items():
        first, last = entry["data_offsets"]
        result[name] = np.frombuffer(data[start + first : start + last], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return result
