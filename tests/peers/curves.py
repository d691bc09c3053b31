"""Reads a study's curves with TensorBoard and pyarrow, and compares them with its records.

apet collect STUDY --tensorboard LOGS --trackio SITE
python tests/peers/curves.py STUDY/runs LOGS SITE
"""

import json
import math
import sys
from pathlib import Path

import pyarrow.parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def points(lines):
    """[(tag, step, value)] of a record."""
    for line in lines:
        if line["kind"] == "step":
            for tag, field in [("loss", "loss"), ("learning_rate", "learning_rate"), ("grad_norm", "grad_norm")]:
                yield f"train/{tag}", line["step"], line[field]
        elif line["kind"] == "eval":
            yield f"{line['split']}/{line['metric']}", line["step"], line["score"]
            yield f"{line['split']}/loss", line["step"], line["loss"]


def main(runs, logs, site):
    folders = {path.name[-16:]: path for path in logs.iterdir()}
    table = {}
    for row in pyarrow.parquet.read_table(site / "metrics.parquet").to_pylist():
        for tag, value in row.items():
            if "/" in tag and value is not None:
                table.setdefault(row["run_id"], []).append((tag, row["step"], value))
    configs = pyarrow.parquet.read_table(site / "aux" / "configs.parquet").to_pylist()
    about = {run["id"]: run for run in json.loads((site / "runs.json").read_text())}
    count = 0
    for path in sorted(runs.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        run = lines[0]["run"]
        expected = sorted(points(lines))
        events = EventAccumulator(str(folders[run]), size_guidance={"scalars": 0}).Reload()
        found = sorted((tag, e.step, e.value) for tag in events.Tags()["scalars"] for e in events.Scalars(tag))
        assert [x[:2] for x in found] == [x[:2] for x in expected], run
        assert all(math.isclose(a[2], b[2], rel_tol=1e-6, abs_tol=1e-30) for a, b in zip(found, expected)), run
        same = zip(sorted(table[run]), expected, strict=True)
        assert all(a[:2] == b[:2] and math.isclose(a[2], b[2], rel_tol=1e-14) for a, b in same), run
        assert about[run]["last_step"] == max(step for _, step, _ in expected), run
        count += 1
    assert count == len(about) == len(configs), (count, len(about), len(configs))
    assert {row["run_id"] for row in configs} == set(about)
    print(f"{count} runs: curves as in their records")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
