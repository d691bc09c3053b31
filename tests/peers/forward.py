"""Hidden and mean-pooled states of MiniLM-L6 for six texts, as figures for a test.

    python tests/peers/forward.py --model DIR --out DIR [--check]
    python tests/peers/forward.py --model DIR --texts FILE --apet FILE.safetensors

--check writes nothing and fails if the stored figures are off by more than 1e-4.
--apet compares the output of `apet forward --texts FILE -o FILE.safetensors` in the same
way: token ids, every hidden state, the mean; DIR may then hold any model.
"""

import argparse
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

import common

MAX_LENGTH = 128
TOLERANCE = 1e-4
# Empty, one word, plain, other scripts and signs, long, longer than MAX_LENGTH.
TEXTS = (
    "",
    "Yes.",
    "The film is short, sharp and better than its title.",
    "Café naïve\u00a0— \u201cwow\u201d!! 100% 电影 \U0001f600 Straße e\u0301tude http://x.y/?q=1",
    "It starts slowly, and for twenty minutes nothing seems to be at stake, but then the sisters "
    "meet again in the empty house, the rain does not stop, and what they say to each other, half "
    "of it in anger and half of it in jest, is worth the whole of the first hour.",
    "not good not bad " * 40,
)
# Texts whose hidden states are stored; for the others only the mean is.
HIDDEN = (2, 3)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="directory of MiniLM-L6")
    parser.add_argument("--out", help="directory of forward.json and forward.safetensors")
    parser.add_argument("--check", action="store_true", help="compare with the stored figures, write nothing")
    parser.add_argument("--texts", help="one text for each line, with --apet")
    parser.add_argument("--apet", help="output of apet forward for --texts")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not args.out and not (args.apet and args.texts):
        parser.error("give --out, or --apet with --texts")
    return args


def verdict(name, worst):
    """Prints the difference of two sides and exits with 1 above the tolerance."""
    print(f"{name}: {worst:.1e} of the largest value apart, allowed {TOLERANCE:.0e}")
    sys.exit(0 if worst <= TOLERANCE else 1)


@torch.no_grad()
def compare(args):
    """Compares the output of `apet forward` for the lines of a file with transformers, one by one."""
    found = load_file(args.apet)
    texts = Path(args.texts).read_text(encoding="utf-8").splitlines()
    tokenizer = common.load_tokenizer(args.model)
    model = transformers.AutoModel.from_pretrained(args.model, attn_implementation="eager", dtype=torch.float32).eval()
    worst = 0.0
    for i, (text, ids) in enumerate(zip(texts, common.encode(tokenizer, texts, MAX_LENGTH), strict=True)):
        assert found[f"{i}.ids"].tolist() == ids, f"line {i + 1} has other token ids: {text!r}"
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        pairs = [(found[f"{i}.hidden.{n}"], state[0]) for n, state in enumerate(states)]
        pairs.append((found[f"{i}.mean"], states[-1][0].mean(0)))
        worst = max(worst, *(common.relative(a, b) for a, b in pairs))
    verdict(f"apet forward on {len(texts)} texts", worst)


@torch.no_grad()
def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.apet:
        compare(args)
    ids = common.encode(common.load_tokenizer(args.model), TEXTS, MAX_LENGTH)
    batch = common.pad(ids)
    model = common.Classifier(common.load_bert(args.model), 1).eval()
    hidden, pooled = model.states(*batch)
    # The same one by one, without padding, to see how much of the difference padding causes.
    alone = torch.cat([model.states(*common.pad([row]))[1] for row in ids])
    hidden_64, pooled_64 = model.double().states(*batch)
    tensors = {"pooled": pooled}
    for i in HIDDEN:
        tensors[f"hidden.{i}"] = hidden[i, : len(ids[i])].contiguous()
    if args.check:
        stored = load_file(Path(args.out) / "forward.safetensors")
        verdict("stored states", max(common.relative(stored[name], value) for name, value in tensors.items()))
    about = {
        "about": "last hidden states and their mean over real tokens, transformers' BertModel on MiniLM-L6; "
        "made by tests/peers/forward.py; tensors in forward.safetensors: pooled [6, 384], "
        "hidden.N [tokens of text N, 384]",
        "settings": {
            "attention": "eager",
            "dtype": "f32",
            "max_length": MAX_LENGTH,
            "padding": "right, to the longest row; one batch",
            "weights_sha256": common.sha256(Path(args.model) / "model.safetensors"),
        },
        "versions": common.versions(),
        "f32_from_f64": {
            "pooled_max_abs_over_max": common.relative(pooled, pooled_64),
            "hidden_max_abs_over_max": max(
                common.relative(hidden[i, : len(ids[i])], hidden_64[i, : len(ids[i])]) for i in HIDDEN
            ),
            "pooled_alone_max_abs_over_max": common.relative(alone, pooled_64),
        },
        "hidden": list(HIDDEN),
        "rows": [{"text": text, "ids": row} for text, row in zip(TEXTS, ids)],
    }
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "forward.safetensors")
    common.write_json(out / "forward.json", about, lists=("rows",))
    print(f"lengths {[len(row) for row in ids]}, f32 from f64 {about['f32_from_f64']}")
    for name in ("forward.safetensors", "forward.json"):
        print(f"{name}: {(out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
