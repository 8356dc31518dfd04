#!/usr/bin/env python3
"""Native ONNX Runtime, one thread, for scripts/bench-edge.sh. A question a line on stdin, an answer a line on stdout, JSON.

    {"do": "versions"}                                   -> {"versions": "..."}
    {"do": "int8", "model": IN, "out": OUT}              -> {}   the tool's dynamic int8: signed weights, per channel
    {"do": "chain", "layers": N, "width": W, "out": OUT} -> {}   N products of [rows, W] by [W, W], in dynamic int8
    {"do": "load", "name": NAME, "model": FILE, "inputs": INDEX} -> {"first": [scores of the first request]}
    {"do": "turn", "name": NAME, "seconds": S}           -> {"seconds": [one a call, request after request]}

INDEX is what tests/src/edge/export.rs writes. Needs onnxruntime and numpy; int8 and chain need onnx too.
"""

import json
import logging
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

DTYPES = {"int64": np.int64, "float32": np.float32}


class Session:
    def __init__(self, model, index):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        wanted = {i.name for i in self.session.get_inputs()}
        index = pathlib.Path(index)
        data = (index.parent / "inputs.bin").read_bytes()
        self.feeds, self.next = [], 0
        for request in json.loads(index.read_text()):
            feed = {}
            for i in request:
                dtype, count = DTYPES[i["dtype"]], int(np.prod(i["shape"]))
                feed[i["name"]] = np.frombuffer(data, dtype, count, i["offset"]).reshape(i["shape"])
            self.feeds.append({name: value for name, value in feed.items() if name in wanted})

    def run(self):
        feed = self.feeds[self.next % len(self.feeds)]
        self.next += 1
        begun = time.perf_counter()
        scores = self.session.run(None, feed)[0]
        return time.perf_counter() - begun, scores

    def turn(self, seconds):
        taken, end = [], time.perf_counter() + seconds
        while not taken or time.perf_counter() < end:
            taken.append(self.run()[0])
        return taken


def int8(model, out):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(model) if isinstance(model, str) else model
    # Stale shapes of an exporter break the tool's rewrite of Gemm.
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        plain = f"{folder}/plain.onnx"
        onnx.save(model, plain)
        quantize_dynamic(plain, out, weight_type=QuantType.QInt8, per_channel=True)


def chain(layers, width, out):
    from onnx import TensorProto, helper, numpy_helper

    # So scaled, every layer's results are of the order of its inputs.
    random, scale = np.random.default_rng(20), (12 / width) ** 0.5
    weights, nodes = [], []
    for layer in range(layers):
        weight = ((random.random((width, width)) - 0.5) * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}" if layer else "x", f"w{layer}"], [f"x{layer + 1}"]))
    rows = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
    graph = helper.make_graph(nodes, "chain", [rows("x")], [rows(f"x{layers}")], weights)
    int8(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), out)


def main():
    sessions = {}

    def answer(question):
        match question["do"]:
            case "versions":
                return {"versions": f"onnxruntime {ort.__version__}"}
            case "int8":
                int8(question["model"], question["out"])
            case "chain":
                chain(question["layers"], question["width"], question["out"])
            case "load":
                session = sessions[question["name"]] = Session(question["model"], question["inputs"])
                first = session.run()[1].reshape(-1).tolist()
                session.next = 0
                return {"first": first}
            case "turn":
                return {"seconds": sessions[question["name"]].turn(question["seconds"])}
            case other:
                raise ValueError(f"cannot do {other}")
        return {}

    # Of pre-processing, which would not change these models.
    logging.disable(logging.WARNING)
    # The tools' own words must not be taken for answers.
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            told = answer(json.loads(line))
        except Exception as error:  # the benchmark says so in a row and goes on
            told = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        print(json.dumps(told), file=out, flush=True)


if __name__ == "__main__":
    main()
