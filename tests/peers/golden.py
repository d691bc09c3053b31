"""Recomputes the figures of a tiny checkpoint (tests/fixtures/*-tiny) with transformers.

    python tests/peers/golden.py tests/fixtures/bert-tiny [...]

Loads the folder's model, runs the stored inputs and compares the hidden states,
logits, loss and gradients in golden.safetensors. Fails if a tensor is
off by more than 1e-4 of its largest value, or is missing on either side.
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

import common  # noqa: F401 - quiets transformers and keeps it off the hub

TOLERANCE = 1e-4
# A key bias shifts all scores of a query equally, so its gradient is zero except for rounding.
ZERO = 1e-6


def bert(folder, stored):
    """BertForSequenceClassification: states, pooled state, logits with and without token types, loss."""
    model = load(transformers.BertForSequenceClassification, folder)
    inputs = {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    out = model(**inputs, labels=stored["labels"], output_hidden_states=True)
    out.loss.backward()
    found = {f"hidden_states.{n}": state for n, state in enumerate(out.hidden_states)}
    found |= {"last_hidden_state": out.hidden_states[-1], "logits": out.logits, "loss": out.loss}
    found["pooler_output"] = model.bert(**inputs).pooler_output
    del inputs["token_type_ids"]
    found["logits_no_token_type"] = model(**inputs).logits
    return found | gradients(model, "")


def mpnet(folder, stored):
    """MPNetForSequenceClassification: states, logits, loss."""
    model = load(transformers.MPNetForSequenceClassification, folder)
    out = run(model, stored, "")
    found = {f"hidden_states.{n}": state for n, state in enumerate(out.hidden_states)}
    return found | {"logits": out.logits, "loss": out.loss} | gradients(model, "")


def bloom(folder, stored):
    """BloomForCausalLM, padded on either side: last states, logits, loss; generation."""
    found = {}
    for side in ("left.", "right."):
        model = load(transformers.BloomForCausalLM, folder)
        out = run(model, stored, side)
        found |= {f"{side}last_hidden_state": out.hidden_states[-1], f"{side}logits": out.logits}
        found |= {f"{side}loss": out.loss} | gradients(model, side)
    return found | {"gen.new_tokens": generate(model, stored)[:, stored["gen.input_ids"].shape[1] :]}


def llama(folder, stored):
    """LlamaForCausalLM: see rotary."""
    return rotary(load(transformers.LlamaForCausalLM, folder), stored)


def gpt_neox(folder, stored):
    """GPTNeoXForCausalLM: see rotary."""
    found = rotary(load(transformers.GPTNeoXForCausalLM, folder), stored)
    # transformers 5 renames the head on loading; checkpoints have the old name.
    return {name.replace("lm_head.", "embed_out."): value for name, value in found.items()}


def rotary(model, stored):
    """A decoder with rotary positions, padded on the left: logits (0 on padding), loss; generation."""
    out = run(model, stored, "", positions=True)
    logits = out.logits * stored["attention_mask"].unsqueeze(-1)
    found = {"logits": logits, "loss": out.loss} | gradients(model, "")
    return found | {"gen.sequences": generate(model, stored)}


def t5(folder, stored):
    """T5ForConditionalGeneration: states of both stacks, logits, loss; generation."""
    model = load(transformers.T5ForConditionalGeneration, folder)
    out = run(model, stored, "")
    found = {
        "encoder_last_hidden_state": out.encoder_last_hidden_state,
        "decoder_last_hidden_state": out.decoder_hidden_states[-1],
        "logits": out.logits,
        "loss": out.loss,
    }
    return found | gradients(model, "") | {"gen.new_tokens": generate(model, stored)[:, 1:]}


def load(kind, folder):
    """A model in f32 with eager attention and without dropout."""
    return kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def run(model, stored, prefix, positions=False):
    """A forward and a backward pass of the stored inputs."""
    inputs = {name: stored[prefix + name] for name in INPUTS if prefix + name in stored}
    inputs.pop("decoder_input_ids", None)  # derived from the labels
    if positions:  # counted from the first token that is not padding
        mask = inputs["attention_mask"]
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(**inputs, output_hidden_states=True)
    out.loss.backward()
    return out


def gradients(model, prefix):
    """The gradient of every parameter, by name."""
    named = model.named_parameters()
    return {f"{prefix}grad.{name}": p.grad for name, p in named if p.grad is not None}


@torch.no_grad()
def generate(model, stored):
    """Twelve greedily generated tokens, none of them an end token."""
    model.generation_config.eos_token_id = None
    ids, mask = stored["gen.input_ids"], stored["gen.attention_mask"]
    return model.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False)


FAMILIES = {"bert": bert, "mpnet": mpnet, "bloom": bloom, "llama": llama, "gpt_neox": gpt_neox, "t5": t5}
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "labels", "decoder_input_ids")
# Inputs, and tensors that only measure the margin of generation.
GIVEN = {"gen.logits", "gen.margin", "gen.new_tokens_unpadded"}


def is_given(name):
    """Whether a stored tensor is not a result."""
    return name in GIVEN or name.split(".")[-1] in INPUTS


def check(folder):
    """The largest difference of a folder's figures, relative to each tensor's largest value."""
    stored = load_file(folder / "golden.safetensors")
    family = transformers.AutoConfig.from_pretrained(folder).model_type
    found = FAMILIES[family](folder, stored)
    expected = {name for name in stored if not is_given(name)}
    assert found.keys() == expected, f"{folder}: {sorted(found.keys() ^ expected)} on one side only"
    worst, where = 0.0, ""
    for name, value in found.items():
        value, expected = value.detach().float(), stored[name].float()
        mask = stored.get(f"{name.split('.')[0]}.attention_mask", stored.get("attention_mask"))
        if mask is not None and value.shape[:2] == mask.shape:
            # Padding has states, too, but nothing depends on them.
            value, expected = (t * mask.reshape(*mask.shape, *[1] * (t.dim() - 2)) for t in (value, expected))
        difference = (value - expected).abs().max().item()
        scale = expected.abs().max().item()
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
