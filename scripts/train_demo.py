#!/usr/bin/env python3
"""Trains the demo ranking model on MovieLens and writes what `quantize` makes a bundle of.

    pip install torch onnx onnxscript onnxruntime numpy xxhash
    python scripts/train_demo.py --data ../shared/models/data --out tests/fixtures/demo

Start from this script to bring a model of your own. What matters to Rung:

* the model scores each candidate on its own; the leading dimension of every input is candidates;
* its inputs are made by `features.toml` (here through `Encoder`): training and serving agree;
* it is exported to ONNX (opset 18) with that leading dimension dynamic;
* example requests stand beside it, in three files that share no event.

The task is implicit feedback: a rating is a positive, whatever its stars. Held out are the last 10
ratings of each user; each is ranked among 99 movies that the user never rated (He et al. 2017).

Into the output folder go:

    movies.onnx                   the model: inputs as in features.toml, output `score` f32 [N]
    features.toml                 the schema (a copy of --schema, if that lies elsewhere)
    catalog.jsonl                 one item a line, raw fields; line i is vocabulary index i
    requests.calibration.jsonl    from the training period: to choose bits and to check the import
    requests.gate.jsonl.gz        held-out events: to certify a gate on
    requests.eval.jsonl           other held-out events: to judge with
    golden.json                   ONNX Runtime's scores and logits of some eval requests

A report (JSON) goes to standard output, progress to standard error. Everything is seeded.
"""

import argparse
import csv
import gzip
import json
import re
import shutil
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn
from torch.nn import functional as F

from encode_golden import ROOT, Encoder

SEED = 11

# Data
CATALOG_SIZE = 2000  # the movies with the most ratings in the training period
HELD_OUT = 10  # ratings of each user, the last ones
HISTORY = 20  # `max_length` in features.toml
CANDIDATES = 100  # of a request: one positive, the others never rated by the user
REQUESTS = {"eval": 500, "validation": 600, "calibration": 80, "gate": 2800}
GOLDEN_LINES = (0, 100, 200, 300, 400)  # of requests.eval.jsonl

# Model
DIM = 16
USER_BUCKETS = 1024  # `hash` in features.toml
MLP = (96, 48)
DROPOUT = 0.2

# Training
EPOCHS = 16
NEGATIVES = 4  # drawn for each positive, anew in each epoch
BATCH = 2048
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2


def main() -> None:
    arguments = parse_arguments()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    schema = out / "features.toml"
    if arguments.schema.resolve() != schema.resolve():
        shutil.copyfile(arguments.schema, schema)
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    data = load(arguments.data)
    encoder = Encoder.from_file(schema, [item["id"] for item in data.catalog])
    requests = draw_requests(data, REQUESTS | {"gate": arguments.gate_requests})
    write_lines(out / "catalog.jsonl", data.catalog)
    for name in ("calibration", "eval"):
        write_lines(out / f"requests.{name}.jsonl", requests[name])
    write_lines(out / "requests.gate.jsonl.gz", requests["gate"])

    items = encoder.encode_batch("item", data.catalog)
    model = Ranker(len(data.catalog), encoder)
    started = time.monotonic()
    best_epoch = train(model, data, encoder, items, requests["validation"])
    seconds = time.monotonic() - started

    path = out / "movies.onnx"
    inputs = request_inputs(encoder, items, requests["eval"][0])
    export(model, inputs, path)
    session = open_session(path.read_bytes())
    golden = golden_scores(path, encoder, items, requests["eval"])
    (out / "golden.json").write_text(compact(golden) + "\n", encoding="utf-8")

    report = {
        "schema_version": 1,
        "eval": evaluate(lambda x: session.run(None, x)[0], encoder, items, requests["eval"]),
        "best_epoch": best_epoch,
        "train_seconds": round(seconds),
        "ops": count_ops(path),
        "bytes": {file.name: file.stat().st_size for file in sorted(out.iterdir())},
        "requests": {name: len(drawn) for name, drawn in requests.items()},
    }
    print(json.dumps(report, indent=1))


def parse_arguments() -> argparse.Namespace:
    fixtures = ROOT / "tests/fixtures/demo"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / "../shared/models/data",
        help="folder with movies.csv and ratings.csv of ml-latest-small",
    )
    parser.add_argument("--out", type=Path, default=fixtures, help="where the files go")
    parser.add_argument(
        "--schema",
        type=Path,
        default=fixtures / "features.toml",
        help="the features.toml to train for",
    )
    parser.add_argument(
        "--gate-requests",
        type=int,
        default=REQUESTS["gate"],
        help="the default keeps the fixture small; a gate to rely on wants thousands",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="other counts may change the last bits"
    )
    return parser.parse_args()


# ---- data


@dataclass(frozen=True)
class Event:
    """A rating, with what was known of the user just before it."""

    user: dict  # raw fields, as in a request
    timestamp: int
    movie: str


@dataclass(frozen=True)
class Data:
    catalog: list[dict]  # raw items, by MovieLens id
    train: list[Event]
    held_out: list[Event]
    rated: dict[str, set[str]]  # user id -> every movie the user ever rated


def load(folder: Path) -> Data:
    ratings = defaultdict(list)  # user -> [(timestamp, movie, stars)], oldest first
    with open(folder / "ratings.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rating = (int(row["timestamp"]), int(row["movieId"]), float(row["rating"]))
            ratings[int(row["userId"])].append(rating)
    stars = defaultdict(list)  # movie -> its ratings in the training period
    for events in ratings.values():
        events.sort()
        for _, movie, given in events[:-HELD_OUT]:
            stars[movie].append(given)

    by_popularity = sorted(stars, key=lambda movie: (-len(stars[movie]), movie))
    movies = sorted(by_popularity[:CATALOG_SIZE])
    raw = read_movies(folder / "movies.csv")
    catalog = [
        raw[movie] | {"popularity": len(stars[movie]), "mean_rating": rounded_mean(stars[movie])}
        for movie in movies
    ]

    known = set(movies)
    train, held_out, rated = [], [], {}
    for user, events in sorted(ratings.items()):
        rated[f"u{user}"] = {f"m{movie}" for _, movie, _ in events}
        past = []
        for position, (timestamp, movie, given) in enumerate(events):
            if movie not in known:
                continue
            event = Event(raw_user(user, past), timestamp, f"m{movie}")
            (held_out if position >= len(events) - HELD_OUT else train).append(event)
            past.append((movie, given))
    return Data(catalog, train, held_out, rated)


def read_movies(path: Path) -> dict[int, dict]:
    movies = {}
    with open(path, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            year = re.search(r"\((\d{4})\)\s*$", row["title"])
            movies[int(row["movieId"])] = {
                "id": f"m{row['movieId']}",
                "title": row["title"],
                "year": int(year.group(1)) if year else None,
                "genres": row["genres"].split("|"),
            }
    return movies


def raw_user(user: int, past: list[tuple[int, float]]) -> dict:
    return {
        "id": f"u{user}",
        "history": [f"m{movie}" for movie, _ in past[-HISTORY:]],
        "ratings": len(past),
        "mean_rating": rounded_mean([given for _, given in past]),
    }


def rounded_mean(stars: list[float]) -> float:
    return round(sum(stars) / len(stars), 3) if stars else 3.5


def draw_requests(data: Data, counts: dict[str, int]) -> dict[str, list[dict]]:
    """Requests by file name. No event is in two files; those of a file are in order of users.

    Each file has a random stream of its own, so that another count for one leaves the others alone.
    """
    held_out = np.random.default_rng(SEED).permutation(len(data.held_out))
    settled = [i for i, event in enumerate(data.train) if event.user["ratings"] >= HELD_OUT]
    requests, taken = {}, 0
    for stream, (name, count) in enumerate(counts.items(), start=1):
        rng = np.random.default_rng([SEED, stream])
        if name == "calibration":
            events = [data.train[i] for i in sorted(rng.choice(settled, count, replace=False))]
        else:
            chosen = held_out[taken : taken + count]
            if len(chosen) < count:
                raise SystemExit(f"{name}: only {len(chosen)} of {count} held-out events are left")
            events = [data.held_out[i] for i in sorted(chosen)]
            taken += count
        requests[name] = [draw_request(data, event, rng) for event in events]
    return requests


def draw_request(data: Data, event: Event, rng: np.random.Generator) -> dict:
    rated = data.rated[event.user["id"]]
    never_rated = [item["id"] for item in data.catalog if item["id"] not in rated]
    others = rng.choice(len(never_rated), CANDIDATES - 1, replace=False)
    candidates = [event.movie] + [never_rated[i] for i in others]
    return {
        "user": event.user,
        "context": {"timestamp": event.timestamp},
        "candidates": [candidates[i] for i in rng.permutation(CANDIDATES)],
        "relevant": [event.movie],
    }


def compact(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_lines(path: Path, records: list[dict]) -> None:
    text = "".join(compact(record) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text, encoding="utf-8")


# ---- model


class Ranker(nn.Module):
    """A small deep-interest ranker: which of the watched movies speak for this candidate?

    Scaled dot-product attention from the candidate over the history (after Zhou et al. 2018),
    beside the plain mean of the history, products of embeddings and dense features; then an MLP.
    The user's side and the item's side meet late, so Rung can compute most of it once a request
    or once an item.
    """

    def __init__(self, items: int, encoder: Encoder):
        super().__init__()
        features = {feature["name"]: feature for feature in encoder.features}
        years = len(features["year"]["transform"]["boundaries"]) + 2
        genres = len(encoder.vocabularies["genres"])
        self.user = embedding(USER_BUCKETS)
        self.item = embedding(items + 1, padding_idx=0)  # 0 is unknown and padding
        self.year = embedding(years)
        self.hour = embedding(24)
        self.weekday = embedding(7)
        self.query = nn.Linear(DIM, DIM)
        self.key = nn.Linear(DIM, DIM)
        self.dropout = nn.Dropout(DROPOUT)
        dense = 2 + 2 + genres
        self.mlp = nn.Sequential(
            nn.Linear(10 * DIM + dense, MLP[0]),
            nn.ReLU(),
            nn.Linear(MLP[0], MLP[1]),
            nn.ReLU(),
            nn.Linear(MLP[1], 1),
        )

    def forward(
        self, user_id, history, user_dense, hour, weekday, item_id, year, genres, item_dense
    ):  # fmt: skip
        user, item, watched = self.user(user_id), self.item(item_id), self.item(history)
        present = history > 0
        mean = masked_mean(watched, present)
        interest = self.attend(item, watched, present)
        x = torch.cat(
            [
                user, mean, self.hour(hour), self.weekday(weekday), user_dense,
                item, self.year(year), item_dense, genres,
                interest, interest * item, mean * item, user * item,
            ],
            dim=1,
        )  # fmt: skip
        return torch.sigmoid(self.mlp(self.dropout(x))).squeeze(1)

    def attend(self, item, watched, present):
        """The sum of the watched movies, weighted by affinity to the candidate."""
        query = self.query(item).unsqueeze(1)
        affinity = (query * self.key(watched)).sum(2) / DIM**0.5
        weights = torch.softmax(torch.where(present, affinity, -1e9), dim=1)
        return (weights.unsqueeze(2) * watched).sum(1)


def embedding(rows: int, **options) -> nn.Embedding:
    table = nn.Embedding(rows, DIM, **options)
    nn.init.normal_(table.weight, std=0.05)
    if table.padding_idx is not None:
        nn.init.zeros_(table.weight[table.padding_idx])
    return table


def masked_mean(rows, present):
    mask = present.float().unsqueeze(2)
    return (rows * mask).sum(1) / mask.sum(1).clamp(min=1.0)


# ---- training


def train(model, data: Data, encoder: Encoder, items, validation) -> int:
    """Leaves the weights of the best epoch in the model; returns that epoch."""
    rng = np.random.default_rng(SEED)
    names = input_names(encoder)
    users = encoder.encode_batch(
        "request",
        [{"user": e.user, "context": {"timestamp": e.timestamp}} for e in data.train],
    )
    positives = np.array([encoder.vocabularies["movies"][e.movie] - 1 for e in data.train])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, best_epoch, best_state = -1.0, 0, None
    for epoch in range(1, EPOCHS + 1):
        model.train()
        losses = []
        for who, what, label in batches(positives, len(data.catalog), rng):
            rows = {
                name: users[name][who] if name in users else items[name][what] for name in names
            }
            score = model(*tensors(rows, names))
            loss = F.binary_cross_entropy(score, torch.from_numpy(label))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        quality = evaluate(lambda x: score_with(model, x, names), encoder, items, validation)
        note(f"epoch {epoch:2}  loss {np.mean(losses):.4f}  validation {quality}")
        if quality["ndcg@10"] > best:
            best, best_epoch = quality["ndcg@10"], epoch
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)
    return best_epoch


def batches(positives: np.ndarray, catalog_size: int, rng: np.random.Generator):
    """(training event, catalog row, label) of an epoch, shuffled, in batches."""
    count = len(positives)
    negatives = rng.integers(0, catalog_size, count * NEGATIVES)
    what = np.concatenate([positives, negatives])
    who = np.tile(np.arange(count), 1 + NEGATIVES)
    label = np.zeros(len(what), np.float32)
    label[:count] = 1.0
    order = rng.permutation(len(what))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield who[rows], what[rows], label[rows]


def input_names(encoder: Encoder) -> list[str]:
    """The model's inputs, in the order of `Ranker.forward`: the user's side, then the item's."""
    return encoder.input_names("request") + encoder.input_names("item")


def tensors(rows: dict[str, np.ndarray], names: list[str]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(rows[name])) for name in names)


def score_with(model: Ranker, rows: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return model(*tensors(rows, names)).numpy()


def request_inputs(encoder: Encoder, items, request: dict) -> dict[str, np.ndarray]:
    """The model's inputs for one request, one row a candidate."""
    candidates = request["candidates"]
    vocabulary = encoder.vocabularies["movies"]
    rows = np.array([vocabulary[candidate] - 1 for candidate in candidates])
    user = encoder.encode_batch("request", [request])
    inputs = {name: np.repeat(value, len(candidates), axis=0) for name, value in user.items()}
    return inputs | {name: value[rows] for name, value in items.items()}


def evaluate(score, encoder: Encoder, items, requests: list[dict]) -> dict[str, float]:
    """HR@10, NDCG@10 and AUC; a tie counts against the relevant candidate."""
    ranks = []
    for request in requests:
        scores = score(request_inputs(encoder, items, request))
        relevant = request["candidates"].index(request["relevant"][0])
        ranks.append(int((scores >= scores[relevant]).sum()) - 1)
    rank = np.array(ranks)
    gain = np.where(rank < 10, 1.0 / np.log2(rank + 2), 0.0)
    return {
        "hr@10": round(float((rank < 10).mean()), 4),
        "ndcg@10": round(float(gain.mean()), 4),
        "auc": round(float(1.0 - (rank / (CANDIDATES - 1)).mean()), 4),
    }


def note(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


# ---- export


def export(model: Ranker, inputs: dict[str, np.ndarray], path: Path) -> None:
    """Writes ONNX with a dynamic number of candidates and without the exporter's traces."""
    names = list(inputs)
    candidates = torch.export.Dim("N", min=1, max=65536)
    model.eval()
    torch.onnx.export(
        model,
        tensors(inputs, names),
        path,
        input_names=names,
        output_names=["score"],
        dynamic_shapes=[{0: candidates} for _ in names],
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    proto = onnx.load(path)
    graph = proto.graph
    parts = [proto, graph, *graph.node, *graph.initializer, *graph.value_info]
    for part in [*parts, *graph.input, *graph.output]:
        del part.metadata_props[:]  # the exporter's stack traces
        part.doc_string = ""
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def count_ops(path: Path) -> dict[str, int]:
    ops = [node.op_type for node in onnx.load(path).graph.node]
    return {op: ops.count(op) for op in sorted(set(ops))}


def open_session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def golden_scores(path: Path, encoder: Encoder, items, requests: list[dict]) -> dict:
    """{"requests": {line: request}, "movies": {line: {"score": [...], "logit": [...]}}}

    In the order of the request's candidates; the logit is the value before the last Sigmoid.
    """
    proto = onnx.load(path)
    logit = [node for node in proto.graph.node if node.op_type == "Sigmoid"][-1].input[0]
    logit_info = onnx.helper.make_tensor_value_info(logit, onnx.TensorProto.FLOAT, None)
    proto.graph.output.append(logit_info)
    session = open_session(proto.SerializeToString())
    golden = {"requests": {}, "movies": {}}
    for line in GOLDEN_LINES:
        request = requests[line]
        score, logit = session.run(None, request_inputs(encoder, items, request))
        golden["requests"][str(line)] = request
        golden["movies"][str(line)] = {"score": shortest(score), "logit": shortest(logit)}
    return golden


def shortest(values: np.ndarray) -> list[float]:
    """The shortest decimals that read back to the same f32 bits."""
    return [float(str(value)) for value in values.reshape(-1)]


if __name__ == "__main__":
    main()
