#!/usr/bin/env python3
"""Draws how a call's time grows, from the rows of scripts/bench-edge.sh --json: scripts/plot_edge.py ROWS.json OUT.svg

Needs matplotlib. Dashed is what linear growth from 100 candidates on would be.
"""
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

if len(sys.argv) != 3:
    sys.exit(__doc__)
rows = {row["name"]: row["value"] for row in json.load(open(sys.argv[1]))["rows"]}
# The same file for the same rows.
matplotlib.rcParams.update({"svg.hashsalt": "rung", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def measured(prefix, names):
    found = {x: rows.get(f"{prefix}{name}") for x, name in names.items()}
    return {x: ms for x, ms in found.items() if ms is not None}


by_candidates = measured("edge_time_n_", {n: n for n in (1, 10, 100, 1000, 10_000)})
by_items = measured("edge_time_catalog_", {10_000: "10k", 100_000: "100k", 1_000_000: "1M"})
if len(by_candidates) < 2 or len(by_items) < 2:
    sys.exit(f"{sys.argv[1]}: has no growth in it: run scripts/bench-edge.sh --only growth")

figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for panel, points, label in zip(panels, (by_candidates, by_items), ("candidates (10,000 items)", "items (100 candidates)")):
    panel.loglog(list(points), list(points.values()), marker="o", color="#2b6cb0")
    for x, ms in points.items():
        panel.annotate(f"{ms:.2g}", (x, ms), textcoords="offset points", xytext=(0, 6), ha="center")
    panel.set(xlabel=label, ylabel="ms a call")
    panel.grid(True, which="major", color="#cccccc", linewidth=0.5)
linear = {n: by_candidates[100] * n / 100 for n in by_candidates}
panels[0].loglog(list(linear), list(linear.values()), linestyle="--", linewidth=1, color="#888888")
panels[1].set_ylim(min(by_items.values()) / 3, max(by_items.values()) * 3)
figure.savefig(sys.argv[2], metadata={"Date": None})
