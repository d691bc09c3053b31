"""Times a training step of transformers + peft, for comparison with `apet bench`.

    python tests/peers/bench.py --model DIR --method METHOD [--batch N] [--seq N] [--steps N]

DIR has config.json; without model.safetensors the weights are random. Rows are random
tokens of full length, half of them of each class. A step resets the gradients, runs forward and
backward, clips, updates (fused AdamW) and reads the loss, as `apet bench` does. Prints one JSON line.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import transformers

import common


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="directory of a BERT")
    parser.add_argument("--method", choices=common.METHODS, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def random_bert(folder):
    """A randomly initialised BertModel of a config, without dropout."""
    config = transformers.AutoConfig.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config._attn_implementation = "sdpa"
    return transformers.BertModel(config, add_pooling_layer=False)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    random = not (args.model / "model.safetensors").exists()
    bert = random_bert(args.model) if random else common.load_bert(args.model, "sdpa")
    model = common.build(bert, args.method, 1)
    parameters = list(common.tuned(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=0.0, fused=True, **common.ADAMW)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, model.bert.config.vocab_size, (args.batch, args.seq), generator=generator)
    batch = ids, torch.ones_like(ids)
    labels = torch.arange(args.batch) % common.LABELS
    rate, losses, times = common.RATES[args.method], [], []
    for number in range(args.warmup + args.steps):
        begun = time.perf_counter()
        loss, _ = common.step(model, optimizer, batch, labels, rate)
        if number >= args.warmup:
            times.append((time.perf_counter() - begun) * 1e3)
        losses.append(loss)
    tuned = sum(p.numel() for name, p in common.tuned(model).items() if not name.startswith("head."))
    result = {
        "method": args.method,
        "random_weights": random,
        "trainable_parameters": tuned,
        "rows": args.batch,
        "length": args.seq,
        "threads": args.threads,
        "step_ms": {
            "median": statistics.median(times),
            "min": min(times),
            "max": max(times),
            "all": times,
        },
        "losses": losses,
        "versions": common.versions(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
