"""Test accuracy of transformers + peft on a task, to compare `apet run` with.

    python tests/peers/accuracy.py --model DIR --task TASK --data DIR --out FILE [--method ...] [--seed ...]

DIR of --data holds the task's train.jsonl, validation.jsonl and test.jsonl.
Prints one JSON line for each run: task, method, seed, dev, test, best_step, seconds, and the settings.
--out also appends it to a file, and skips runs that the file already has with the same
settings, so the same command resumes a stopped one.
Settings have the names of a RunSpec. torch draws the training rows, the order of each epoch
and the initial values from the seed, differently from `apet`, so only means over
seeds can be compared.
"""

import argparse
import json
import time
from pathlib import Path

import torch

import common

# The columns of a row's text or texts, and the number of classes.
TASKS = {
    "rotten_tomatoes": (("text",), 2),
    "snli": (("premise", "hypothesis"), 3),
    "mrpc": (("sentence1", "sentence2"), 2),
}
# Settings that distinguish runs; `rows` is the file of --rows.
SETTINGS = ("task", "method", "seed", "learning_rate", "steps", "batch_size", "eval_every", "max_length")
SETTINGS += ("rows", "train_rows", "dev_rows", "test_rows")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="directory of MiniLM-L6")
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--data", required=True, help="directory of train, validation and test.jsonl")
    parser.add_argument("--out", type=Path, help="file that each run's line is appended to")
    parser.add_argument("--rows", help="file of training rows, instead of DATA/train.jsonl")
    parser.add_argument("--method", nargs="+", choices=common.METHODS, default=list(common.METHODS))
    parser.add_argument("--seed", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--lr", type=float, help="peak learning rate; default: the method's own")
    parser.add_argument("--train-rows", type=int, default=2000, help="drawn from the training rows; 0 uses all")
    parser.add_argument("--dev-rows", type=int, default=0, help="the first ones; 0 uses all")
    parser.add_argument("--test-rows", type=int, default=0, help="the first ones; 0 uses all")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--eval-every", type=int, default=100, help="the last step is always evaluated")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="sdpa")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


class Split:
    """Token ids, token types of pairs, and labels of a split's rows; rows without a label are dropped."""

    def __init__(self, path, columns, tokenizer, max_length, first=0):
        rows = [row for row in common.rows_of(path) if row["label"] >= 0]
        rows = rows[:first] if first else rows
        texts = [[row[column] for row in rows] for column in columns]
        if len(columns) == 1:
            self.ids, self.types = common.encode(tokenizer, *texts, max_length), None
        else:
            self.ids, self.types = common.encode_pairs(tokenizer, *texts, max_length)
        self.labels = torch.tensor([row["label"] for row in rows])

    def batch(self, rows):
        """(input_ids, attention_mask), with token types for pairs, and labels of some rows."""
        batch = common.pad([self.ids[i] for i in rows])
        if self.types:
            batch += (common.pad([self.types[i] for i in rows])[0],)
        return batch, self.labels[rows]


@torch.no_grad()
def accuracy(model, split, batch_size=64):
    """Share of rows whose label has the highest score; batches have rows of similar length."""
    model.eval()
    order = sorted(range(len(split.ids)), key=lambda i: len(split.ids[i]))
    right = 0
    for start in range(0, len(order), batch_size):
        batch, labels = split.batch(order[start : start + batch_size])
        right += (model(*batch).argmax(-1) == labels).sum().item()
    model.train()
    return right / len(order)


def batches(rows, size, generator):
    """Endless batches: each epoch has a new order, and a batch may span two epochs."""
    queue = []
    while True:
        while len(queue) < size:
            queue += rows[torch.randperm(len(rows), generator=generator)].tolist()
        yield queue[:size]
        queue = queue[size:]


def settings(args, method, seed, train, dev, test):
    """The settings that identify a run, by the names of SETTINGS."""
    rows = Path(args.rows).name if args.rows else None
    counts = (min(args.train_rows or len(train.ids), len(train.ids)), len(dev.ids), len(test.ids))
    rate = args.lr or common.RATES[method]
    values = (args.task, method, seed, rate, args.steps, args.batch, args.eval_every, args.max_length, rows, *counts)
    return dict(zip(SETTINGS, values, strict=True))


def run(args, chosen, train, dev, test):
    """One run: the best step by dev accuracy (the earliest of equal ones) is scored once on test."""
    start = time.perf_counter()
    method, seed, peak = chosen["method"], chosen["seed"], chosen["learning_rate"]
    columns, labels = TASKS[args.task]
    model = common.build(args.model, method, seed, args.attention, labels, len(columns) == 2)
    optimizer = common.optimizer_of(model)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(train.ids), generator=generator)
    stream = batches(rows[: args.train_rows or None], args.batch, generator)
    best, best_step, theta, loss = -1.0, 0, {}, float("nan")
    for s in range(args.steps):
        batch, labels = train.batch(next(stream))
        loss, _ = common.step(model, optimizer, batch, labels, common.rate(peak, s, args.steps))
        done = s + 1
        if done % args.eval_every == 0 or done == args.steps:
            score = accuracy(model, dev)
            if score > best:
                best, best_step = score, done
                theta = {name: value.detach().clone() for name, value in common.tuned(model).items()}
    assert not model.load_state_dict(theta, strict=False).unexpected_keys
    return chosen | {
        "dev": best,
        "test": accuracy(model, test),
        "best_step": best_step,
        "seconds": round(time.perf_counter() - start, 1),
        "loss_last": loss,
        "tuned_without_head": sum(p.numel() for n, p in theta.items() if not n.startswith("head.")),
        "threads": args.threads,
        "versions": common.versions(),
    }


def finished(path):
    """The settings of every run in a file; a truncated last line is removed from the file."""
    if not path or not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1]
    if lines != text:
        path.write_text(lines, encoding="utf-8")
    return [{name: run.get(name) for name in SETTINGS} for run in map(json.loads, lines.splitlines())]


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    data = Path(args.data)
    tokenizer = common.load_tokenizer(args.model)
    columns, _ = TASKS[args.task]
    train = Split(args.rows or data / "train.jsonl", columns, tokenizer, args.max_length)
    dev = Split(data / "validation.jsonl", columns, tokenizer, args.max_length, args.dev_rows)
    test = Split(data / "test.jsonl", columns, tokenizer, args.max_length, args.test_rows)
    done = finished(args.out)
    for method in args.method:
        for seed in args.seed:
            chosen = settings(args, method, seed, train, dev, test)
            if chosen in done:
                continue
            line = json.dumps(run(args, chosen, train, dev, test))
            print(line, flush=True)
            if args.out:
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
