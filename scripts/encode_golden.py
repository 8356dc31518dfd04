#!/usr/bin/env python3
"""Encodes features in Python and writes golden vectors for the Rust encoder.

    python scripts/encode_golden.py            writes tests/fixtures/encoding.json
    python scripts/encode_golden.py --check    exit status 1 if that file is out of date

Needs numpy and xxhash. `Encoder` follows docs/features.md and shares no code with the Rust one.
`scripts/train_demo.py` trains on the inputs that it makes, so a model sees in training what it will
be served.

The file, with paths relative to tests/fixtures:

    {"catalog_ids": [...], "schemas": [
      {"schema": path, "cases": [
        {"why": "...", "request": {...}, "inputs": {...}},
        {"why": "...", "item": {...}, "inputs": {...}}]}]}

`inputs` holds the flat row of each model input of that scope: i64 as integers, f32 as the shortest
decimal that reads back to the same bits. `why` says what a case is for.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import xxhash

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures"
GOLDEN = FIXTURES / "encoding.json"


class Refused(ValueError):
    """The schema says that a request with this value is not to be encoded."""


class Encoder:
    """Turns raw requests and items into model inputs, as a `features.toml` says."""

    def __init__(self, schema: dict, catalog_ids: list[str]):
        if schema["schema_version"] != 1:
            raise ValueError(f"schema_version {schema['schema_version']} is not known")
        self.features = schema["feature"]
        self.vocabularies = {
            name: vocabulary_index(spec, catalog_ids)
            for name, spec in schema.get("vocabulary", {}).items()
        }

    @classmethod
    def from_file(cls, path: Path, catalog_ids: list[str]) -> "Encoder":
        with open(path, "rb") as file:
            return cls(tomllib.load(file), catalog_ids)

    def input_names(self, scope: str | None = None) -> list[str]:
        """The model inputs (of one scope), each once, in the order of the schema."""
        features = [f for f in self.features if scope in (None, f["scope"])]
        return list(dict.fromkeys(f.get("input", f["name"]) for f in features))

    def encode(self, scope: str, record: dict) -> dict[str, np.ndarray]:
        """One request or one item as {input: flat row}. Numbers are f64 until the very end."""
        columns: dict[str, dict[int, float]] = {}
        rows: dict[str, np.ndarray] = {}
        for feature in self.features:
            if feature["scope"] != scope:
                continue
            name = feature.get("input", feature["name"])
            if "fields" in feature:
                rows[name] = np.array([crossed(record, feature)], np.int64)
                continue
            value = raw_value(record, feature)
            if feature["kind"] == "numeric":
                columns.setdefault(name, {})[feature.get("column", 0)] = numeric(feature, value)
            else:
                rows[name] = self._encode_discrete(feature, value)
        for name, values in columns.items():
            rows[name] = np.array([values[c] for c in range(len(values))], np.float64)
            rows[name] = rows[name].astype(np.float32)
        return rows

    def encode_batch(self, scope: str, records: list[dict]) -> dict[str, np.ndarray]:
        """Many records as {input: array, one row a record}; one-value indices have shape [N]."""
        rows = [self.encode(scope, record) for record in records]
        indices = [f for f in self.features if f["kind"] in ("categorical", "bucketized")]
        scalars = {f.get("input", f["name"]) for f in indices}
        batch = {name: np.stack([row[name] for row in rows]) for name in self.input_names(scope)}
        return {name: a[:, 0] if name in scalars else a for name, a in batch.items()}

    def _encode_discrete(self, feature: dict, value) -> np.ndarray:
        kind, transform = feature["kind"], feature.get("transform", "identity")
        if kind == "categorical":
            index = 0 if value is None else self._index(feature, transform, value)
            return np.array([index], np.int64)
        if kind == "bucketized":
            bounds = transform["boundaries"]
            index = 0 if value is None else 1 + sum(bound <= value for bound in bounds)
            return np.array([index], np.int64)
        if kind == "list":
            length = feature["max_length"]
            values = list(value or [])
            kept = values[:length] if feature.get("keep", "last") == "first" else values[-length:]
            row = np.full(length, feature.get("padding", 0), np.int64)
            row[: len(kept)] = [self._index(feature, transform, v) for v in kept]
            return row
        if kind == "multi_hot":
            vocabulary = self.vocabularies[transform["vocabulary"]]
            first = min(vocabulary.values())
            row = np.zeros(len(vocabulary), np.float32)
            for v in value or []:
                if v in vocabulary:
                    row[vocabulary[v] - first] = 1.0
                elif feature.get("unknown", "default") != "default":
                    raise Refused(f"`{feature['name']}`: {v!r} is not in the vocabulary")
            return row
        if kind == "dense":
            length = feature["length"]
            values = [0] * length if value is None else value
            if len(values) != length:
                raise Refused(f"`{feature['name']}` has {len(values)} numbers, not {length}")
            return np.array([numeric(feature, v) for v in values], np.float64).astype(np.float32)
        raise ValueError(f"`{feature['name']}`: kind {kind!r} is not known")

    def _index(self, feature: dict, transform, value) -> int:
        if transform == "identity":
            return int(value)
        if "identity" in transform:
            if not 0 <= int(value) < transform["identity"]:
                raise Refused(f"`{feature['name']}`: {value!r} is not below {transform['identity']}")
            return int(value)
        if transform == "hour":
            return value // 3600 % 24
        if transform == "weekday":
            return (value // 86400 + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        if "hash" in transform:
            return xxhash.xxh64_intdigest(str(value).encode("utf-8"), 0) % transform["hash"]
        vocabulary = self.vocabularies[transform["vocabulary"]]
        if value not in vocabulary and feature.get("unknown", "default") != "default":
            raise Refused(f"`{feature['name']}`: {value!r} is not in the vocabulary")
        return vocabulary.get(value, 0)


def vocabulary_index(spec: dict, catalog_ids: list[str]) -> dict[str, int]:
    if spec.get("source") == "catalog":
        return {item: i for i, item in enumerate(catalog_ids, start=spec.get("first", 1))}
    return {value: i for i, value in enumerate(spec["values"], start=spec.get("first", 0))}


def at_path(record: dict, path: str):
    """The value at a dotted path; None if it is absent or null."""
    value = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def crossed(record: dict, feature: dict) -> int:
    """The index of several fields together; 0 if one of them is missing and has no default."""
    paths = feature["fields"]
    parts = [at_path(record, path) for path in paths]
    if None in parts and feature.get("missing", "default") != "default":
        raise Refused(f"a field of `{feature['name']}` is missing")
    defaults = feature.get("default", [None] * len(paths))
    parts = [default if part is None else part for part, default in zip(parts, defaults)]
    if None in parts:
        return 0
    texts = [str(part).encode("utf-8") for part in parts]
    netstrings = b"".join(b"%d:%s," % (len(text), text) for text in texts)
    return xxhash.xxh64_intdigest(netstrings, 0) % feature["transform"]["cross_hash"]


def raw_value(record: dict, feature: dict):
    """The value at the feature's path; its default if the value is absent or null."""
    value = at_path(record, feature.get("field", feature["name"]))
    if value is not None:
        return value
    if feature.get("missing", "default") != "default":
        raise Refused(f"`{feature['name']}` is missing")
    return feature.get("default", 0 if feature["kind"] == "numeric" else None)


def numeric(feature: dict, value) -> float:
    transforms = feature.get("transform", "identity")
    result = np.float64(value)
    for transform in transforms if isinstance(transforms, list) else [transforms]:
        if transform == "ln1p":
            result = np.log1p(result)
        elif "clip" in transform:
            bounds = transform["clip"]
            result = np.maximum(result, bounds.get("min", -np.inf))
            result = np.minimum(result, bounds.get("max", np.inf))
        elif transform != "identity":
            standardize = transform["standardize"]
            result = (result - standardize["mean"]) / standardize["std"]
    if not np.isfinite(result):
        raise Refused(f"`{feature['name']}` is not finite")
    return float(result)


# ---- the cases

CATALOG_IDS = [
    "m1",
    "m2",
    "m10",
    "m31",
    "m318",
    "m2294",
    "m91886",
    "film/√2",
    "été",
    "映画",
    "M1",
    "m 7",
]


def request(why: str, context: dict | None = None, **user) -> dict:
    case = {"why": why, "request": {"user": user}}
    if context is not None:
        case["request"]["context"] = context
    return case


def item(why: str, **fields) -> dict:
    return {"why": why, "item": fields}


def at(timestamp: int) -> dict:
    return {"timestamp": timestamp}


def reference_cases() -> list[dict]:
    long_history = [CATALOG_IDS[i * 5 % 12] for i in range(37)]
    return [
        request(
            "an ordinary request",
            at(1260757799),
            id="u1",
            history=["m2294", "m31"],
            ratings=15,
            mean_rating=2.667,
        ),
        request(
            "a user id in Latin-1 letters; an empty history",
            at(1431129600),
            id="zoë",
            history=[],
            ratings=0,
            mean_rating=3.5,
        ),
        request(
            "a user id in wide letters and an emoji; ids beyond ASCII",
            at(951782399),
            id="ユーザー🎬",
            history=["été", "映画", "film/√2"],
            ratings=3,
            mean_rating=4.125,
        ),
        request(
            "the same letters decomposed are another user",
            at(951782400),
            id="zoe\u0308",
            history=["m1"],
            ratings=1,
            mean_rating=5,
        ),
        request("an empty user id", at(1), id="", history=["m 7"], ratings=2, mean_rating=0.5),
        request(
            "a long user id: xxh64 takes its 32-byte path",
            at(86399),
            id="user-0123456789abcdef-0123456789abcdef-0123456789",
            history=["M1"],
            ratings=1024,
            mean_rating=3.857,
        ),
        request(
            "a history beyond 30: the last 30 stay",
            at(86400),
            id="u2",
            history=long_history,
            ratings=37,
            mean_rating=3.1,
        ),
        request(
            "a history of just 30",
            at(1500000000),
            id="u3",
            history=long_history[:30],
            ratings=30,
            mean_rating=3.3,
        ),
        request(
            "unknown ids keep their place as 0; repeats stay",
            at(1479600000),
            id="u4",
            history=["m2", "nope", "m2", "m1 ", "", "m91886"],
            ratings=6,
            mean_rating=3.999,
        ),
        request(
            "a history beyond 30 with unknown ids at both ends",
            at(1483228799),
            id="u5",
            history=["gone"] * 4 + long_history[:27] + ["gone"],
            ratings=32,
            mean_rating=2.05,
        ),
        request("null is missing", at(0), id="u6", history=None, ratings=None, mean_rating=None),
        request("nothing is given: every default"),
        request(
            "the last second of a Sunday",
            at(1479686399),
            id="u7",
            history=["m10"],
            ratings=7,
            mean_rating=3.25,
        ),
        request(
            "the first second of a Monday",
            at(1479686400),
            id="u7",
            history=["m10"],
            ratings=7,
            mean_rating=3.25,
        ),
        request(
            "the first second of a Sunday",
            at(1479600000),
            id="u7",
            history=["m10"],
            ratings=7,
            mean_rating=3.25,
        ),
        request(
            "a second before 1970: hour and weekday are floored",
            at(-1),
            id="u8",
            history=["m318"],
            ratings=100000,
            mean_rating=1.0,
        ),
        request(
            "long before 1970, on an hour's edge",
            at(-259200),
            id="u8",
            history=["m318"],
            ratings=16777217,
            mean_rating=1.3,
        ),
        request(
            "after 2038",
            at(4102444799),
            id="u9",
            history=["m1", "m2"],
            ratings=0.5,
            mean_rating=3.7,
        ),
        item(
            "an ordinary item",
            id="m91886",
            year=2016,
            genres=["Drama", "Sci-Fi"],
            popularity=42,
            mean_rating=3.85,
        ),
        item(
            "a field that no feature takes is ignored",
            id="m1",
            title="The Lighthouse Keeper’s Goat (1995)",
            year=1995,
            genres=["Adventure", "Animation", "Children", "Comedy", "Fantasy"],
            popularity=241,
            mean_rating=3.95,
        ),
        item(
            "not in the catalog",
            id="new1",
            year=2014,
            genres=["(no genres listed)"],
            popularity=0,
            mean_rating=3.5,
        ),
        item(
            "ids are case-sensitive",
            id="M1",
            year=1929,
            genres=["Film-Noir"],
            popularity=1,
            mean_rating=0.5,
        ),
        item(
            "a null year is a missing one",
            id="m2",
            year=None,
            genres=["IMAX"],
            popularity=97,
            mean_rating=3.371,
        ),
        item(
            "no year; unknown and differently written genres are dropped",
            id="m10",
            genres=["Telenovela", "drama", "Drama", "Sci-Fi "],
            popularity=7,
            mean_rating=4.0,
        ),
        item(
            "year on the first boundary; a genre twice",
            id="été",
            year=1930,
            genres=["War", "War"],
            popularity=3,
            mean_rating=4.667,
        ),
        item(
            "year just below a boundary; an empty list of genres",
            id="映画",
            year=1992,
            genres=[],
            popularity=12345678,
            mean_rating=5.0,
        ),
        item(
            "year on a boundary in the middle; no mean_rating",
            id="film/√2",
            year=1993,
            genres=["Western", "Action"],
            popularity=15,
        ),
        item(
            "a year of 0 is a year, not a missing one",
            id="m 7",
            year=0,
            genres=["Horror"],
            popularity=2,
            mean_rating=None,
        ),
        item("only an id: every default", id="m318"),
    ]


def transform_cases() -> list[dict]:
    def where(device=None, geo=None, slot=None) -> dict:
        return {"device": device, "geo": geo, "slot": slot}

    return [
        request(
            "inside every bound",
            where("phone", "eu", 11),
            ratings=15,
            mean_rating=2.667,
            country="de",
            taste=[0.25, -1, 3.3, 1e-3],
        ),
        request(
            "above the bounds; the letters cut elsewhere are another cross",
            where("ephone", "eu", 0),
            ratings=2500.5,
            mean_rating=5,
            country="d",
            taste=[0, 0, 0, 0],
        ),
        request(
            "below the bounds, where ln(1+x) has no value",
            where("phon", "eeu", 5),
            ratings=-17,
            mean_rating=0.5,
            country="de",
            taste=[1e30, -1e30, 16777217, 0.1],
        ),
        request(
            "on the bounds; letters of several bytes, and those that a netstring is made of",
            where("3:tv,", ",:", 1),
            ratings=1000,
            mean_rating=2.375,
            country="日本",
        ),
        request(
            "an integer stands for its digits; an empty text is not a missing one",
            where("", 49, 2),
            country=-7,
        ),
        request("a part of a cross is missing", where(None, "eu"), country="fr"),
        request("another part is missing", where("phone"), country=None),
        request("no part of a cross: every default"),
        item("an ordinary item", id="m1", studio="A24", language="en", cover=[0.5, -0.5, 0]),
        item("clipped on both sides", id="m2", studio="A2", language="4en", cover=[1.5, -3, 1]),
        item("no vector; the language is missing", id="m10", studio="A24"),
        item("a null vector", id="new1", studio="", language="", cover=None),
    ]


SCHEMAS = {
    "reference/features.toml": reference_cases,
    "reference/transforms.toml": transform_cases,
}


def shortest(row: np.ndarray) -> list:
    if row.dtype == np.int64:
        return row.tolist()
    return [float(str(value)) for value in row]


def golden(schema: str, cases: list[dict]) -> list[dict]:
    """The cases of a schema, each with what it encodes to."""
    encoder = Encoder.from_file(FIXTURES / schema, CATALOG_IDS)
    done = []
    for case in cases:
        scope = "request" if "request" in case else "item"
        inputs = encoder.encode(scope, case[scope])
        names = encoder.input_names(scope)
        done.append(case | {"inputs": {name: shortest(inputs[name]) for name in names}})
    return done


def render() -> str:
    """The file: JSON with one line a case, so that a change shows as the cases it touches."""

    def text(value) -> str:
        return json.dumps(value, ensure_ascii=False)

    def suite(schema: str, cases: list[dict]) -> str:
        lines = ",\n".join(text(case) for case in golden(schema, cases))
        return f'{{"schema": {text(schema)}, "cases": [\n{lines}\n]}}'

    suites = ", ".join(suite(schema, cases()) for schema, cases in SCHEMAS.items())
    return f'{{"catalog_ids": {text(CATALOG_IDS)}, "schemas": [{suites}]}}\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        if GOLDEN.read_text(encoding="utf-8") == text:
            return 0
        print(f"{GOLDEN} is out of date: run {Path(__file__).name}", file=sys.stderr)
        return 1
    GOLDEN.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
