"""Compares test accuracies of `apet run` with those of accuracy.py, as a Markdown table.

    python tests/peers/compare.py --peers FILE --apet STORE/runs/*.jsonl

For each task and method: mean and standard deviation over the seeds of each side, and the
difference of the means with its 95 % interval (Welch's t, degrees of freedom rounded down).
Runs are matched by task, method, learning rate, steps, batch size and rows; every seed counts.
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120)
TITLES = {"lora": "LoRA", "shira": "SHIRA", "ia3": "IA3", "ln_tuning": "LN_TUNING", "prompt": "PROMPT_TUNING"}
NAMES = {"layer_norm": "ln_tuning", "apet": "shira"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", required=True, type=Path, help="output of accuracy.py --out")
    parser.add_argument("--apet", required=True, nargs="+", type=Path, help="records of apet run")
    return parser.parse_args()


def of_peers(path):
    """(task, method, settings) -> {seed: test accuracy}."""
    runs = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        settings = (run["learning_rate"], run["steps"], run["batch_size"], run["train_rows"], run["test_rows"])
        runs[run["task"], run["method"], settings][run["seed"]] = run["test"]
    return runs


def of_apet(paths):
    """The same for records, and the number of trainable parameters."""
    runs, counts = defaultdict(dict), {}
    for path in paths:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        header, summary = lines[0], lines[-1]
        if summary.get("kind") != "summary" or summary.get("test") is None:
            continue
        spec = header["spec"]
        name = NAMES.get(spec["method"]["name"], spec["method"]["name"])
        task, train = spec["task"], spec["train"]
        rate = spec["optimizer"]["learning_rate"]
        settings = (rate, train["steps"], train["batch_size"], task["train_rows"], task["test_rows"])
        runs[task["name"], name, settings][spec["seeds"]["batches"]] = summary["test"]
        counts[task["name"], name, settings] = header["theta"]["trainable_parameters"]
    return runs, counts


def welch(a, b):
    """Difference of means a - b and half of its 95 % interval."""
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if va + vb == 0:
        return statistics.mean(a) - statistics.mean(b), 0.0
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    quantile = T[min(max(math.floor(freedom), 1), len(T)) - 1]
    return statistics.mean(a) - statistics.mean(b), quantile * math.sqrt(va + vb)


def main():
    args = arguments()
    peers = of_peers(args.peers)
    apet, counts = of_apet(args.apet)
    print("| task | method | tuned | learning rate | seeds | APET Lab | transformers + peft | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for key in sorted(peers.keys() & apet.keys()):
        ours, theirs = ([100 * v for v in side[key].values()] for side in (apet, peers))
        if min(len(ours), len(theirs)) < 2:
            continue
        difference, half = welch(ours, theirs)
        means = [f"{statistics.mean(v):.2f} ± {statistics.stdev(v):.2f}" for v in (ours, theirs)]
        task, method, settings = key
        seeds = len(ours) if len(ours) == len(theirs) else f"{len(ours)} / {len(theirs)}"
        interval = f"{difference:+.2f} [{difference - half:+.2f}, {difference + half:+.2f}]"
        title = TITLES.get(method, method)
        print(f"| {task} | {title} | {counts[key]:,} | {settings[0]:g} | {seeds} | {means[0]} | {means[1]} | {interval} |")


if __name__ == "__main__":
    main()
