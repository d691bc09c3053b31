"""Compares greedy generation of `apet generate` with transformers: tokens and speed.

    python tests/peers/generate.py --model DIR --apet BINARY [--time] [--threads N]

DIR is a Hugging Face directory of a decoder with a tokenizer.json, for instance of
SmolLM2. Both continue the same texts in one batch, padded on the left, ignoring the end
token. --time also prints tokens a second, and the time to load the weights compared with
safetensors' own loader (reading every byte), in turn in this run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import safetensors.torch
import torch
import transformers

import common

TEXTS = (
    "The capital of France is",
    "Once upon a time",
    "def fib(n):",
    "2 + 2 = ",
    "Café naïve 100% 电影 \U0001f600",
    "A very long sentence that goes on and on with 12345 numbers",
    "Q: Who wrote Hamlet?\nA:".replace("\n", " "),
    "I",
)
TOKENS = 40


def apet(args, texts):
    """The output of `apet generate` for some texts."""
    words = [args.apet, "generate", "--model", args.model, "--most", str(TOKENS), "--ignore-end", "--json"]
    for text in texts:
        words += ["--prompt", text]
    env = os.environ | {"RAYON_NUM_THREADS": str(args.threads)}
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True, env=env).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--apet", required=True)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = common.load_tokenizer(args.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None

    def generate(ids):
        """The new tokens, and the seconds they took."""
        width = max(map(len, ids))
        batch = torch.tensor([[0] * (width - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        start = time.perf_counter()
        out = model.generate(batch, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        return out[:, width:].tolist(), time.perf_counter() - start

    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    ours = apet(args, TEXTS)
    assert ours["prompt_ids"] == ids, "the token ids of the texts differ"
    theirs, _ = generate(ids)
    same = sum(a == b for a, b in zip(ours["ids"], theirs, strict=True))
    print(f"{same} of {len(TEXTS)} texts are continued with the same {TOKENS} tokens")
    for rows in (1, 8) if args.time else ():
        for _ in range(5):
            _, seconds = generate(ids[:rows])
            ours = apet(args, TEXTS[:rows])
            print(f"batch {rows}: transformers {TOKENS * rows / seconds:.1f} tokens/s, apet {ours['tokens_per_second']:.1f}")
    weights = Path(args.model) / "model.safetensors"
    for _ in range(5 if args.time else 0):
        start = time.perf_counter()
        tensors = safetensors.torch.load_file(weights)
        # Only mapped so far; a model computes with a copy.
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        seconds = time.perf_counter() - start
        ours = apet(args, TEXTS[:1])["load_seconds"]
        size = sum(tensor.nbytes for tensor in copies.values()) / 1e6
        print(f"load {size:.0f} MB: safetensors {seconds:.2f} s, apet {ours:.2f} s")
        del tensors, copies
    sys.exit(0 if same == len(TEXTS) else 1)


if __name__ == "__main__":
    main()
