"""The figures of a tiny checkpoint (tests/fixtures/*-tiny) made again with transformers.

    python tests/peers/golden.py tests/fixtures/bert-tiny [...]

Loads the folder's model, runs the stored inputs and compares what golden.safetensors has
of hidden states, logits, loss and the gradient of every parameter. Fails where a tensor is
off by more than 1e-4 of its largest value, or is missing on either side.
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

import common  # noqa: F401 - quiets transformers and keeps it off the hub

TOLERANCE = 1e-4
# A key bias shifts all scores of a query alike, so its gradient is zero but for rounding.
ZERO = 1e-6


def bert(folder, stored):
    """BertForSequenceClassification: states, pooled state, logits with and without token types, loss."""
    model = transformers.BertForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    inputs = {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    out = model(**inputs, labels=stored["labels"], output_hidden_states=True)
    out.loss.backward()
    found = {f"hidden_states.{n}": state for n, state in enumerate(out.hidden_states)}
    found |= {"last_hidden_state": out.hidden_states[-1], "logits": out.logits, "loss": out.loss}
    found["pooler_output"] = model.bert(**inputs).pooler_output
    del inputs["token_type_ids"]
    found["logits_no_token_type"] = model(**inputs).logits
    return model, found


FAMILIES = {"bert": bert}
INPUTS = {"input_ids", "attention_mask", "token_type_ids", "labels"}


def check(folder):
    """The largest difference of a folder's figures, relative to each tensor's largest value."""
    stored = load_file(folder / "golden.safetensors")
    family = transformers.AutoConfig.from_pretrained(folder).model_type
    model, found = FAMILIES[family](folder, stored)
    found |= {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    expected = stored.keys() - INPUTS
    assert found.keys() == expected, f"{folder}: {sorted(found.keys() ^ expected)} on one side only"
    worst, where = 0.0, ""
    for name, value in found.items():
        difference = (value.detach() - stored[name]).abs().max().item()
        scale = stored[name].abs().max().item()
        off = max(0.0, difference - ZERO) / max(scale, ZERO)
        if off >= worst:
            worst, where = off, name
    print(f"{folder.name}: {len(found)} tensors, at most {worst:.1e} apart ({where}), allowed {TOLERANCE:.0e}")
    return worst


def main():
    torch.set_num_threads(2)
    worst = max(check(Path(folder)) for folder in sys.argv[1:])
    sys.exit(0 if worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
