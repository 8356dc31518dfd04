#!/usr/bin/env python3
"""PyTorch on the same GPU, for scripts/gpu-check.sh: the models of ONNX files, eager, compiled and as a CUDA graph.

    python3 scripts/gpu_peer.py --json FILE [--device cuda] DIR...

Needs torch alone: the files are read by the few lines below. A run takes its inputs from the host and gives its scores
back to it, as the origin's does. f32 is IEEE f32 here too; the rows named tf32 have it switched on.
"""

import argparse
import json
import pathlib
import statistics
import struct
import time

import torch
import torch.nn.functional as F

SIZES = (1, 100, 1000, 10_000)
SECONDS, LEAST = 0.4, 5
# Compiling takes half a minute a size, so only this one is.
COMPILED = 1000


def fields(data):
    """The fields of a protobuf message: (number, value), where a value is an int or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 2:
            length = varint()
            at += length
            yield key >> 3, data[at - length : at]
        else:
            length = {1: 8, 5: 4}[kind]
            at += length
            yield key >> 3, data[at - length : at]


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


def ints(values):
    """Of a repeated integer field, packed or not."""
    out = []
    for value in values:
        # A packed one reads as the values of a message without keys.
        out += [signed(value)] if isinstance(value, int) else [signed(v) for v in packed(value)]
    return out


def packed(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield value
            value = shift = 0


def group(data):
    found = {}
    for number, value in fields(data):
        found.setdefault(number, []).append(value)
    return found


TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def tensor(data):
    message = group(data)
    shape, dtype = ints(message.get(1, [])), TYPES[message[2][0]]
    if 9 in message:
        raw = torch.frombuffer(bytearray(message[9][0] or b"\0" * 8), dtype=dtype)
        return raw[: torch.Size(shape).numel()].reshape(shape).clone()
    values = ints(message.get(7, [])) if dtype == torch.int64 else floats(message.get(4, []))
    return torch.tensor(values, dtype=dtype).reshape(shape)


def floats(values):
    return [f for v in values for f in struct.unpack(f"<{len(v) // 4}f", v)]


def attribute(data):
    message = group(data)
    if 5 in message:
        value = tensor(message[5][0])
    elif 8 in message:
        value = ints(message[8])
    elif 3 in message:
        value = signed(message[3][0])
    else:
        value = floats(message.get(2, [b"\0" * 4]))[0]
    return message[1][0].decode(), value


class Model(torch.nn.Module):
    """An ONNX graph, node by node."""

    def __init__(self, path):
        super().__init__()
        graph = group(group(path.read_bytes())[7][0])
        self.names = {}
        for data in graph.get(5, []):
            name = group(data)[8][0].decode()
            self.constant(name, tensor(data))
        self.steps = []
        for node in map(group, graph[1]):
            attributes = dict(map(attribute, node.get(5, [])))
            reads, writes = ([n.decode() for n in node.get(i, [])] for i in (1, 2))
            op = node[4][0].decode()
            if op == "Constant":
                self.constant(writes[0], attributes["value"])
            else:
                self.steps.append((op, reads, writes[0], attributes))
        known = set(self.names)
        self.inputs = [(name, *self.of_type(data)) for data in graph[11] if (name := self.name(data)) not in known]
        self.output = self.name(graph[12][0])
        # Shapes and axes are asked for on the host.
        integers = ((name, getattr(self, key)) for name, key in self.names.items())
        self.host = {name: value.tolist() for name, value in integers if value.dtype == torch.int64}

    def constant(self, name, value):
        key = f"c{len(self.names)}"
        self.names[name] = key
        self.register_buffer(key, value)

    @staticmethod
    def name(data):
        return group(data)[1][0].decode()

    @staticmethod
    def of_type(data):
        """The element type, and the shape of a row."""
        kind = group(group(group(data)[2][0])[1][0])
        shape = [group(d).get(1, [0])[0] for d in group(kind[2][0]).get(1, [])]
        return TYPES[kind[1][0]], shape[1:]

    def rows(self, name):
        """Of the smallest table that an input's ids are looked up in."""
        tables = [r[0] for op, r, _, _ in self.steps if op == "Gather" and r[1] == name and r[0] in self.names]
        return min((getattr(self, self.names[t]).shape[0] for t in tables), default=2)

    def random(self, n):
        draw = torch.Generator().manual_seed(n)
        for name, dtype, shape in self.inputs:
            if dtype.is_floating_point:
                yield torch.rand(n, *shape, generator=draw)
            else:
                yield torch.randint(0, self.rows(name), (n, *shape), generator=draw, dtype=dtype)

    def forward(self, *inputs):
        values = {name: getattr(self, key) for name, key in self.names.items()}
        values.update((name, value) for (name, _, _), value in zip(self.inputs, inputs))
        host = dict(self.host)
        for op, reads, writes, attributes in self.steps:
            operands = [values.get(name) for name in reads]
            known = [host.get(name) for name in reads]
            if op == "Shape":
                host[writes] = list(operands[0].shape)[attributes.get("start", 0) :]
                values[writes] = None
            else:
                values[writes] = run(op, operands, known, attributes)
                if all(k is not None for k in known) and known and op in ("Concat", "Gather", "Squeeze", "Unsqueeze"):
                    host[writes] = values[writes].tolist()
        return values[self.output]


def run(op, x, host, at):
    """One node. `host` has those operands that are shapes or axes."""
    a = x[0]
    b = x[1] if len(x) > 1 else None
    match op:
        case "Add":
            return a + b
        case "Sub":
            return a - b
        case "Mul":
            return a * b
        case "Div":
            return a / b
        case "Greater":
            return a > b
        case "Where":
            return torch.where(a, b, x[2])
        case "MatMul":
            return a @ b
        case "Gemm":
            a, b = (a.T if at.get("transA") else a), (b.T if at.get("transB") else b)
            return a @ b if len(x) < 3 else torch.addmm(x[2], a, b)
        case "Relu":
            return a.relu()
        case "PRelu":
            return torch.where(a < 0, a * b, a)
        case "Sigmoid":
            return a.sigmoid()
        case "Erf":
            return a.erf()
        case "Softmax":
            return a.softmax(at.get("axis", -1))
        case "LayerNormalization":
            axis = at.get("axis", -1)
            return F.layer_norm(a, a.shape[axis:], b, x[2] if len(x) > 2 else None, at.get("epsilon", 1e-5))
        case "Clip":
            return a.clamp(*(None if v is None else v for v in (x[1:] + [None, None])[:2]))
        case "Cast":
            return a.to(TYPES[at["to"]])
        case "Concat":
            return torch.cat(x, at["axis"])
        case "Gather":
            axis = at.get("axis", 0)
            if isinstance(host[1], int):
                return a.select(axis, host[1])
            flat = torch.index_select(a, axis, b.reshape(-1))
            return flat.reshape(*a.shape[:axis], *b.shape, *a.shape[axis + 1 :])
        case "GatherND" if at.get("batch_dims", 0) == 0:
            return a[tuple(b.unbind(-1))]
        case "Slice":
            starts, ends = host[1], host[2]
            axes = host[3] if len(host) > 3 and host[3] is not None else range(len(starts))
            steps = host[4] if len(host) > 4 and host[4] is not None else [1] * len(starts)
            for start, end, axis, step in zip(starts, ends, axes, steps):
                index = [slice(None)] * a.dim()
                index[axis] = slice(start, min(end, a.shape[axis]) if end >= 0 else end, step)
                a = a[tuple(index)]
            return a
        case "Reshape":
            return a.reshape([a.shape[i] if d == 0 else d for i, d in enumerate(host[1])])
        case "Transpose":
            return a.permute(at["perm"])
        case "Expand":
            return a.expand(torch.broadcast_shapes(a.shape, host[1]))
        case "Unsqueeze":
            for axis in sorted(host[1]):
                a = a.unsqueeze(axis)
            return a
        case "Squeeze":
            return a.squeeze() if b is None else a.squeeze(tuple(host[1]))
        case "ReduceSum" | "ReduceMax" | "ReduceMean":
            axes, keep = tuple(host[1]), bool(at.get("keepdims", 1))
            return {"ReduceSum": torch.sum, "ReduceMax": torch.amax, "ReduceMean": torch.mean}[op](a, axes, keep)
    raise NotImplementedError(f"{op} {at}")


def eager(model, device):
    return lambda inputs: model(*(x.to(device, non_blocking=True) for x in inputs)).cpu()


def captured(model, device, inputs):
    """The model as one CUDA graph for inputs of these shapes."""
    static = [x.to(device) for x in inputs]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(*static)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = model(*static)

    def replay(inputs):
        for to, x in zip(static, inputs):
            to.copy_(x, non_blocking=True)
        graph.replay()
        return output.cpu()

    return replay


def median_ms(function, inputs):
    for _ in range(3):
        function(inputs)
    taken, begun = [], time.perf_counter()
    while time.perf_counter() - begun < SECONDS or len(taken) < LEAST:
        started = time.perf_counter()
        function(inputs)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3


def rows_of(path, device):
    model = Model(path).eval().to(device)
    compiled = torch.compile(model, dynamic=False)
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        precision = "tf32" if tf32 else "f32"
        for n in SIZES:
            inputs = list(model.random(n))
            ways = {"eager": lambda: eager(model, device)}
            if device == "cuda":
                inputs = [x.pin_memory() for x in inputs]
                ways["graph"] = lambda: captured(model, device, inputs)
            if n == COMPILED and not tf32:
                ways["compile"] = lambda: eager(compiled, device)
            for way, make in ways.items():
                # IEEE f32 is what the origin's rows are compared with.
                name = f"torch_{way}_ms_{n}" if not tf32 else f"torch_{way}_tf32_{n}_ms"
                value = reason = None
                try:
                    value = median_ms(make(), inputs)
                except Exception as error:  # a way that fails here is a row without a number
                    reason = f"{precision}: {type(error).__name__}: {error}".splitlines()[0][:200]
                yield {"name": name, "subject": path.stem, "value": value, "unit": "ms", "must": None, "want": None,
                       "met": None, "reason": reason}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--json", required=True, type=pathlib.Path)
    options.add_argument("--device", default="cuda")
    options.add_argument("dirs", nargs="+", type=pathlib.Path)
    options = options.parse_args()
    rows = []
    with torch.inference_mode():
        for path in sorted(p for folder in options.dirs for p in folder.glob("*.onnx")):
            rows += rows_of(path, options.device)
    document = {"schema_version": 1, "machine": {"torch": torch.__version__}, "rows": rows}
    options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
