"""Shared by the peers: tokens, the model with its head, the trainable parameters, one training step.

BERT comes from transformers, the adapters from peft, the optimizer from torch. Only the mean over
tokens and the linear head are written here.
"""

import hashlib
import itertools
import json
import os
import warnings
from pathlib import Path

# Models are directories; no hub is accessed.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import peft
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from peft.tuners.shira.mask_functions import random_mask

# Expected warnings: about LayerNorms, whose width peft does not know, about the libraries, and about requested settings.
for message in (
    "Unsupported layer type",
    "`is_gradient_checkpointing`",
    "Sparse invariant checks",
    "save_precomputed_indices=False",
):
    warnings.filterwarnings("ignore", message)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

METHODS = ("full", "lora", "bitfit", "head", "prompt", "ia3", "ln_tuning", "shira")
# Default peak learning rate of each method.
RATES = {
    "full": 5e-5,
    "lora": 1e-3,
    "bitfit": 1e-3,
    "head": 1e-3,
    "prompt": 3e-3,
    "ia3": 3e-3,
    "ln_tuning": 1e-3,
    "shira": 3e-3,
}
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": ["query", "value"]}
PROMPT = {"num_virtual_tokens": 20}
PROMPT_STD = 0.1
# peft's defaults name output.dense, which also matches attention.output.dense as a suffix.
IA3 = {
    "target_modules": r".*layer\.\d+\.(attention\.self\.(key|value)|output\.dense)",
    "feedforward_modules": r".*layer\.\d+\.output\.dense",
}
LN_TUNING = {"target_modules": ["LayerNorm"]}
SHIRA = {"r": 8, "target_modules": ["query", "value"]}
ADAMW = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
CLIP_NORM = 1.0
HEAD_STD = 0.02
LABELS = 2


def versions():
    """Versions of the software that computed the figures."""
    modules = (torch, transformers, peft, tokenizers)
    return {module.__name__: module.__version__ for module in modules}


def sha256(path):
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tokenizer(model_dir):
    """The fast tokenizer of tokenizer.json; its own padding and truncation are not used."""
    path = str(Path(model_dir) / "tokenizer.json")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=path, pad_token="[PAD]")


def encode(tokenizer, texts, max_length):
    """Token ids of each text, including special tokens, truncated at max_length, not padded."""
    return tokenizer(list(texts), truncation=True, max_length=max_length, padding=False)["input_ids"]


def encode_pairs(tokenizer, first, second, max_length):
    """Token ids and token types of each pair; the longer text of a pair is truncated first."""
    cut = {"truncation": "longest_first", "max_length": max_length, "padding": False}
    encoded = tokenizer(list(first), list(second), return_token_type_ids=True, **cut)
    return encoded["input_ids"], encoded["token_type_ids"]


def pad(rows, pad_id=0):
    """Rows of ids -> (input_ids, attention_mask), both [rows, the longest row]."""
    width = max(map(len, rows))
    ids = [row + [pad_id] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


class Classifier(torch.nn.Module):
    """BertModel, mean over the states that are not padding, linear head with bias."""

    def __init__(self, bert, width, labels=LABELS):
        super().__init__()
        self.bert = bert
        self.head = torch.nn.Linear(width, labels)

    def states(self, ids, mask, types=None):
        """Hidden states [batch, virtual + tokens, width] and their mean [batch, width].

        The mean is over virtual and real tokens.
        """
        hidden = self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        virtual = hidden.shape[1] - mask.shape[1]  # peft puts them before the row
        weight = F.pad(mask, (virtual, 0), value=1).unsqueeze(-1).to(hidden.dtype)
        return hidden, (hidden * weight).sum(1) / weight.sum(1)

    def forward(self, ids, mask, types=None):
        """Class scores [batch, labels]."""
        return self.head(self.states(ids, mask, types)[1])


def load_bert(model_dir, attention="eager"):
    """BertModel in f32 without its pooler and without dropout."""
    return transformers.BertModel.from_pretrained(
        model_dir,
        add_pooling_layer=False,
        attn_implementation=attention,
        dtype=torch.float32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def shira(seed, **settings):
    """A ShiraConfig that draws a separate mask for every module.

    peft itself gives all modules of the same shape the same mask, with or without a seed.
    """
    config = peft.ShiraConfig(random_seed=seed, **settings)
    seeds = itertools.count(seed)
    config.mask_fn = lambda layer, r, **_: random_mask(layer, r, random_seed=next(seeds))
    return config


def adapter(method, seed, pairs):
    """peft's settings of a method; None if peft does not have it."""
    if method == "lora":
        return peft.LoraConfig(**LORA)
    if method == "prompt":
        # Both compute the same, but FEATURE_EXTRACTION drops token types.
        return peft.PromptTuningConfig(task_type="SEQ_CLS" if pairs else "FEATURE_EXTRACTION", **PROMPT)
    if method == "ia3":
        return peft.IA3Config(**IA3)
    if method == "ln_tuning":
        return peft.LNTuningConfig(**LN_TUNING)
    if method == "shira":
        return shira(seed, **SHIRA)
    return None


def build(model, method, seed, attention="eager", labels=LABELS, pairs=False):
    """A Classifier in which exactly the trainable parameters require a gradient.

    `model` is a directory, or a loaded BertModel. The head's initial values are
    drawn first, so they are the same for every method with the same seed.
    """
    bert = model if isinstance(model, torch.nn.Module) else load_bert(model, attention)
    width = bert.config.hidden_size
    torch.manual_seed(seed)
    model = Classifier(bert, width, labels)
    torch.nn.init.normal_(model.head.weight, std=HEAD_STD)
    torch.nn.init.zeros_(model.head.bias)
    config = adapter(method, seed, pairs)
    if config:
        # Freezes everything except the added parameters.
        model.bert = peft.get_peft_model(bert, config)
        if method == "prompt":
            torch.nn.init.normal_(model.bert.prompt_encoder["default"].embedding.weight, std=PROMPT_STD)
    else:
        for name, parameter in bert.named_parameters():
            tuned = method == "full" or (method == "bitfit" and name.endswith(".bias"))
            parameter.requires_grad_(tuned)
    return model.train()


def tuned(model):
    """The trainable parameters by name, including the head."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def optimizer_of(model):
    """AdamW over the trainable parameters; `step` sets its rate."""
    return torch.optim.AdamW(tuned(model).values(), lr=0.0, **ADAMW)


def rate(peak, step, steps):
    """Learning rate of `step` (from 0): decreases linearly to 0 after the last step, without warm-up."""
    return peak * (steps - step) / steps


def step(model, optimizer, batch, labels, learning_rate):
    """One optimizer step; returns the batch's mean loss and the gradient norm before clipping."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(*batch), labels)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
    optimizer.step()
    return loss.item(), norm.item()


def relative(a, b):
    """max |a - b| / max |b| of two tensors."""
    a, b = a.double(), b.double()
    return ((a - b).abs().max() / b.abs().max()).item()


def rows_of(path):
    """Rows {text, label} of a JSONL file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def write_json(path, value, lists):
    """JSON with one line for each item of the lists named in `lists`: small and readable in a diff."""
    lines = []
    for key, item in value.items():
        if key in lists:
            inner = ",\n".join("  " + json.dumps(i, ensure_ascii=False) for i in item)
            lines.append(f' {json.dumps(key)}: [\n{inner}\n ]')
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}")
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
