"""Hidden and mean-pooled states of MiniLM-L6 for six texts, as figures for a test.

    python tests/peers/forward.py --model DIR --out DIR
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

import common

MAX_LENGTH = 128
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
# Texts whose hidden states are stored; the others give their mean only.
HIDDEN = (2, 3)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="directory of MiniLM-L6")
    parser.add_argument("--out", required=True, help="directory of forward.json and forward.safetensors")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


@torch.no_grad()
def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    ids = common.encode(common.load_tokenizer(args.model), TEXTS, MAX_LENGTH)
    batch = common.pad(ids)
    model = common.Classifier(common.load_bert(args.model), 1).eval()
    hidden, pooled = model.states(*batch)
    # The same one by one, without padding: how much of the rest is padding's doing.
    alone = torch.cat([model.states(*common.pad([row]))[1] for row in ids])
    hidden_64, pooled_64 = model.double().states(*batch)
    tensors = {"pooled": pooled}
    for i in HIDDEN:
        tensors[f"hidden.{i}"] = hidden[i, : len(ids[i])].contiguous()
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
