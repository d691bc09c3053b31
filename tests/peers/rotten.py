"""Test accuracy of transformers + peft on Rotten Tomatoes, to compare `apet run` with.

    python tests/peers/rotten.py --model DIR --data DIR --method full lora bitfit head --seed 1 2 3 4 5

DIR of --data holds train.jsonl, validation.jsonl and test.jsonl, rows {"text", "label"}.
Prints one JSON line a run: method, seed, dev, test, best_step, seconds, and the settings.
Settings are those of a RunSpec with the same names. Training rows, the order of each epoch
and initial values are torch's own draws under the seed, not those of `apet`: the
comparison is one of means over seeds.
"""

import argparse
import json
import time
from pathlib import Path

import torch

import common


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="directory of MiniLM-L6")
    parser.add_argument("--data", required=True, help="directory of train, validation and test.jsonl")
    parser.add_argument("--rows", help="file of training rows, instead of DATA/train.jsonl")
    parser.add_argument("--method", nargs="+", choices=common.METHODS, default=list(common.METHODS))
    parser.add_argument("--seed", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--lr", type=float, help="peak learning rate; each method's own where absent")
    parser.add_argument("--train-rows", type=int, default=2000, help="drawn from the training rows; 0 uses all")
    parser.add_argument("--dev-rows", type=int, default=0, help="the first ones; 0 uses all")
    parser.add_argument("--test-rows", type=int, default=0, help="the first ones; 0 uses all")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--eval-every", type=int, default=100, help="the last step is always evaluated")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="sdpa")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


class Split:
    """Token ids and labels of a split's rows."""

    def __init__(self, path, tokenizer, max_length, first=0):
        rows = common.rows_of(path)
        rows = rows[:first] if first else rows
        self.ids = common.encode(tokenizer, (row["text"] for row in rows), max_length)
        self.labels = torch.tensor([row["label"] for row in rows])

    def batch(self, rows):
        """(input_ids, attention_mask) and labels of some rows."""
        return common.pad([self.ids[i] for i in rows]), self.labels[rows]


@torch.no_grad()
def accuracy(model, split, batch_size=64):
    """Part of the rows whose highest score is their label's; rows of like length go together."""
    model.eval()
    order = sorted(range(len(split.ids)), key=lambda i: len(split.ids[i]))
    right = 0
    for start in range(0, len(order), batch_size):
        batch, labels = split.batch(order[start : start + batch_size])
        right += (model(*batch).argmax(-1) == labels).sum().item()
    model.train()
    return right / len(order)


def batches(rows, size, generator):
    """Batches without end: every epoch a new order, a batch may span two epochs."""
    queue = []
    while True:
        while len(queue) < size:
            queue += rows[torch.randperm(len(rows), generator=generator)].tolist()
        yield queue[:size]
        queue = queue[size:]


def run(args, method, seed, train, dev, test):
    """One run: best step by dev accuracy (the earliest of equals), test scored once with it."""
    start = time.perf_counter()
    peak = args.lr or common.RATES[method]
    model = common.build(args.model, method, seed, args.attention)
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
    result = {
        "method": method,
        "seed": seed,
        "dev": best,
        "test": accuracy(model, test),
        "best_step": best_step,
        "seconds": round(time.perf_counter() - start, 1),
        "loss_last": loss,
        "tuned_without_head": sum(p.numel() for n, p in theta.items() if not n.startswith("head.")),
        "learning_rate": peak,
        "steps": args.steps,
        "batch_size": args.batch,
        "eval_every": args.eval_every,
        "train_rows": min(args.train_rows or len(train.ids), len(train.ids)),
        "dev_rows": len(dev.ids),
        "test_rows": len(test.ids),
        "max_length": args.max_length,
        "threads": args.threads,
        "versions": common.versions(),
    }
    print(json.dumps(result), flush=True)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    data = Path(args.data)
    tokenizer = common.load_tokenizer(args.model)
    train = Split(args.rows or data / "train.jsonl", tokenizer, args.max_length)
    dev = Split(data / "validation.jsonl", tokenizer, args.max_length, args.dev_rows)
    test = Split(data / "test.jsonl", tokenizer, args.max_length, args.test_rows)
    for method in args.method:
        for seed in args.seed:
            run(args, method, seed, train, dev, test)


if __name__ == "__main__":
    main()
