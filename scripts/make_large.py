#!/usr/bin/env python3
"""Makes a model with a large table, and what it is built from: scripts/make_large.py DIR MIB

A user's row (of so many MiB in all, by hash), an item's row, a number of each, then two layers; random weights. Requests
rank 100 of 2,000 items. Needs onnx and numpy.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if len(sys.argv) != 3:
    sys.exit(__doc__)
out, width, items = pathlib.Path(sys.argv[1]), 32, 2000
out.mkdir(parents=True, exist_ok=True)
rows = int(sys.argv[2]) * 2**20 // (4 * width)
random = np.random.default_rng(7)


def weights(name, *shape):
    values = random.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)
    return numpy_helper.from_array(values, name)


nodes = [
    helper.make_node("Gather", ["user.table", "user"], ["u"]),
    helper.make_node("Gather", ["item.table", "item"], ["i"]),
    helper.make_node("Mul", ["u", "i"], ["both"]),
    helper.make_node("Concat", ["u", "i", "both", "ages", "prices"], ["x"], axis=1),
    helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
    helper.make_node("Relu", ["h"], ["r"]),
    helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    helper.make_node("Squeeze", ["y", "last"], ["score"]),
]
tensors = [
    weights("user.table", rows, width),
    weights("item.table", items, width),
    weights("w1", 64, 3 * width + 2),
    weights("b1", 64),
    weights("w2", 1, 64),
    weights("b2", 1),
    numpy_helper.from_array(np.array([1]), "last"),
]
inputs = [
    helper.make_tensor_value_info("user", TensorProto.INT64, ["n"]),
    helper.make_tensor_value_info("item", TensorProto.INT64, ["n"]),
    helper.make_tensor_value_info("ages", TensorProto.FLOAT, ["n", 1]),
    helper.make_tensor_value_info("prices", TensorProto.FLOAT, ["n", 1]),
]
score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])
graph = helper.make_graph(nodes, "large", inputs, [score], tensors)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), out / "large.onnx")

features = {
    "user": ("categorical", "request", f'field = "user.id"\ntransform = {{ hash = {rows} }}'),
    "item": ("categorical", "item", f'field = "number"\ntransform = {{ identity = {items} }}'),
    "age": ("numeric", "request", 'field = "user.age"\ninput = "ages"\ncolumn = 0'),
    "price": ("numeric", "item", 'input = "prices"\ncolumn = 0'),
}
schema = 'schema_version = 1\nmodel = "large"\n'
for name, (kind, scope, rest) in features.items():
    schema += f'\n[[feature]]\nname = "{name}"\nkind = "{kind}"\nscope = "{scope}"\n{rest}\n'
(out / "features.toml").write_text(schema)
with open(out / "catalog.jsonl", "w") as file:
    for i in range(items):
        item = {"id": f"i{i}", "number": i, "price": round(float(random.random()), 3), "popularity": items - i}
        print(json.dumps(item), file=file)
for name in ("calibration", "gate"):
    with open(out / f"requests.{name}.jsonl", "w") as file:
        for _ in range(1000):
            user = {"id": f"u{random.integers(10**6)}", "age": round(float(random.random()), 3)}
            candidates = [{"id": f"i{i}"} for i in random.choice(items, 100, replace=False)]
            print(json.dumps({"user": user, "context": {}, "candidates": candidates}), file=file)
