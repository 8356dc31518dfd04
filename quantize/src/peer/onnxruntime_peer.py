"""What ONNX Runtime's quantizer makes of a model, for `quantize build --compare onnxruntime`. Needs onnx and onnxruntime.

    onnxruntime_peer.py MODEL FOLDER        FOLDER is for what is made

It is asked on stdin and answers on stdout; numbers have four bytes, little-endian.

asked    a line of JSON, {"score": the value that candidates are ranked by, "inputs": [{"name", "type", "row": [dimensions]}],
         "calibration": so many of the requests are for ranges}; then requests: first those, then those to score
request  the number of candidates; for each input the number of its rows, one for all candidates or one for each, and
         these: float32 of a float input, int32 of another
answer   a line of JSON, {"version", "forms": [{"form", "bytes": of its tensors} or {"form", "failed": why}]}; then for each
         request to score the scores in full precision, and those of each form that has not failed: how many, and float32
"""

import json
import logging
import math
import os
import sys

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import helper, numpy_helper
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
except ImportError as error:
    sys.exit(f"{error}: pip install onnx onnxruntime")


class Session:
    def __init__(self, path, score):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.score = score

    def scores(self, feed):
        (scores,) = self.session.run([self.score], self.feed(feed))
        return scores.astype("<f4").reshape(-1)

    def feed(self, feed):
        return {name: feed[name] for name in self.inputs}


class Ranges(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def number(asked):
    data = asked.read(4)
    return int.from_bytes(data, "little") if len(data) == 4 else None


def request(asked, inputs):
    """The inputs of a request, with a row for each candidate; None at the end."""
    if (candidates := number(asked)) is None:
        return None
    feed = {}
    for i in inputs:
        rows, stored = number(asked), "<f4" if i["type"] == "float32" else "<i4"
        values = np.frombuffer(asked.read(4 * rows * math.prod(i["row"])), stored)
        values = values.astype(i["type"]).reshape([rows, *i["row"]])
        feed[i["name"]] = values if rows == candidates else np.repeat(values, candidates, axis=0)
    return feed


def plain(model, score, out):
    """The model with the score before its last monotone op as an output too, and without inputs that nothing takes."""
    model = onnx.load(model)
    graph = model.graph
    # Stale shapes of an exporter break the quantizer's rewrite of Gemm.
    del graph.value_info[:]
    outputs = {o.name for o in graph.output}
    if score not in outputs:
        graph.output.append(helper.make_tensor_value_info(score, onnx.TensorProto.FLOAT, None))
    taken = outputs.union(*(node.input for node in graph.node))
    for unused in [i for i in graph.input if i.name not in taken]:
        graph.input.remove(unused)
    onnx.save(model, out)


def dynamic(model, out, _):
    quantize_dynamic(model, out, weight_type=QuantType.QInt8, per_channel=True)


def static(model, out, feeds):
    quantize_static(
        model,
        out,
        Ranges(feeds),
        quant_format=QuantFormat.QDQ,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        per_channel=True,
    )


def tensor_bytes(path):
    graph = onnx.load(path).graph
    attributes = [a for node in graph.node for a in node.attribute]
    constants = [a.t for a in attributes if a.type == onnx.AttributeProto.TENSOR]
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in [*graph.initializer, *constants])


def main(model, folder):
    # What the tools print must not be taken for answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Their advice on pre-processing, which changed no score of the models that it was tried on.
    logging.disable(logging.WARNING)
    asked = sys.stdin.buffer
    terms = json.loads(asked.readline())
    score, inputs = terms["score"], terms["inputs"]
    feeds = [request(asked, inputs) for _ in range(terms["calibration"])]

    full = os.path.join(folder, "plain.onnx")
    plain(model, score, full)
    sessions, forms = [Session(full, score)], []
    for form, make in [("int8_dynamic", dynamic), ("int8_static", static)]:
        try:
            path = os.path.join(folder, f"{form}.onnx")
            make(full, path, [sessions[0].feed(feed) for feed in feeds])
            session = Session(path, score)
            for feed in feeds[:1]:
                session.scores(feed)
            forms.append({"form": form, "bytes": tensor_bytes(path)})
            sessions.append(session)
        except Exception as error:
            forms.append({"form": form, "failed": f"{type(error).__name__}: {error}"[:1000]})
    answers.write(json.dumps({"version": ort.__version__, "forms": forms}).encode() + b"\n")
    answers.flush()

    while (feed := request(asked, inputs)) is not None:
        for session in sessions:
            scores = session.scores(feed)
            answers.write(len(scores).to_bytes(4, "little") + scores.tobytes())
        answers.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
