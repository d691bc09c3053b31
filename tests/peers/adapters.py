"""Adapters of the tiny checkpoints as saved by peft, and the models' outputs with them.

    python tests/peers/adapters.py --make --out tests/fixtures/peft [--check]
    python tests/peers/adapters.py --load DIR

--make writes a directory for each case, inputs.json and outputs.safetensors. With --check it writes
nothing, and fails if a recreated adapter differs, or if an output of a stored adapter is
off by more than 1e-4 of the largest value.
--load is the reverse direction: DIR holds a directory for each case, written by `apet`, with model.txt
(the tiny checkpoint's name), task.txt (peft's task type), expected.safetensors (input_ids,
attention_mask, decoder_input_ids for T5, output) and either an adapter (adapter_config.json,
adapter_model.safetensors) or a merged checkpoint (config.json, model.safetensors).
"""

import argparse
import json
import re
import sys
import tempfile
import zlib
from pathlib import Path

import peft
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

import common

FIXTURES = Path(__file__).parent.parent / "fixtures"
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TOLERANCE = 1e-4
# The minimal distance of an adapter's output from the base's; a smaller one would make the case pointless.
MOVED = 1e-2
TEXTS = ("The food was good, the service was not.", "Not bad at all", "Good food")
TARGETS = ("It was good.", "It was so-so.", "It was bad.")
MOST_TOKENS, TARGET_TOKENS, VIRTUAL = 9, 4, 5

SETTINGS = {"attn_implementation": "eager", "dtype": torch.float32}
CLASSES = {
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "FEATURE_EXTRACTION": transformers.AutoModel,
    "SEQ_2_SEQ_LM": transformers.AutoModelForSeq2SeqLM,
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
}
TASKS = {"bert": "FEATURE_EXTRACTION", "t5": "SEQ_2_SEQ_LM", "bloom": "CAUSAL_LM", "llama": "CAUSAL_LM"}
PADDING = {"bert": "right", "t5": "right", "bloom": "left", "llama": "left"}
# Outputs of these have a state for each token; those of padding are set to 0.
MASKED = ("FEATURE_EXTRACTION", "CAUSAL_LM")
QUERY_VALUE = {
    "bert": ["query", "value"],
    "t5": ["q", "v"],
    "bloom": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
}
# The center and the range of a parameter's random values, by the first
# part that its name contains. None: from the base's own values.
KINDS = {
    "lora_magnitude_vector": (1, 0.3),
    "lora_": (0, 0.3),
    "prompt_encoder": (0, 0.5),
    "ia3_l": (1, 0.5),
    "shira_weight": (0, 0.4),
    "supertuning_values": (0, 0.8),
    "": (None, 0.3),
}
# Why a reader that supports only the methods must reject these.
REFUSED = {
    "bert-lora-dora": "use_dora scales the rows of the weights",
    "bert-lora-bias": "bias is all: every bias of the model is in the file",
    "bert-lora-extra": "modules_to_save names a module that is no head",
    "bert-lora-unknown": "target modules of another family: the model has no such module",
}
# Tensors that a merged checkpoint may lack or have: copies of tied ones, buffers, and
# for FEATURE_EXTRACTION the layers after the last hidden state.
KNOWN = re.compile(r"lm_head\.weight|(en|de)coder\.embed_tokens\.weight|(bert\.)?embeddings\.position_ids")
BEHIND = re.compile(r"classifier\..*|((bert|model)\.)?pooler\..*")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--make", action="store_true", help="write the cases to --out")
    parser.add_argument("--out", help="directory of the cases")
    parser.add_argument("--check", action="store_true", help="compare with the stored cases, write nothing")
    parser.add_argument("--load", help="directory of cases that apet wrote")
    args = parser.parse_args()
    if bool(args.load) == bool(args.make and args.out):
        parser.error("give --make with --out, or --load")
    return args


def cases():
    """peft's settings by name of the case; the name starts with the model's."""
    found = {
        "bert-lora-seq-cls": peft.LoraConfig(
            task_type="SEQ_CLS", r=4, lora_alpha=6, target_modules=QUERY_VALUE["bert"]
        ),
        "bert-prompt-seq-cls": peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=VIRTUAL),
        # Two patterns, neither of which touches all targets; with rslora alpha is divided by sqrt(r).
        "llama-lora-patterns": peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            lora_alpha=3,
            target_modules=QUERY_VALUE["llama"],
            rank_pattern={"layers.1.self_attn.q_proj": 6, "v_proj": 2},
            alpha_pattern={r"layers\.0\.self_attn\.(q|v)_proj": 5},
            use_rslora=True,
        ),
        "t5-prompt-one": peft.PromptTuningConfig(
            task_type="SEQ_2_SEQ_LM", num_virtual_tokens=VIRTUAL, num_transformer_submodules=1
        ),
        "bert-supertuning": peft.SupertuningConfig(task_type=TASKS["bert"], sparsity=0.98),
        "bloom-supertuning": peft.SupertuningConfig(task_type="CAUSAL_LM", sparsity=0.98),
        # Additionally with low-rank matrices.
        "llama-supertuning-rank": peft.SupertuningConfig(task_type="CAUSAL_LM", sparsity=0.98, r=2, lora_alpha=3),
        # The reader has to compute the indices: those of the largest weights.
        "bert-supertuning-unsaved": peft.SupertuningConfig(
            task_type=TASKS["bert"], sparsity=0.98, save_precomputed_indices=False
        ),
    }
    for seed, (model, query_value) in enumerate(QUERY_VALUE.items()):
        task = TASKS[model]
        # peft has no default for BERT's LayerNorm.
        norms = ["LayerNorm"] if model == "bert" else None
        found |= {
            f"{model}-lora": peft.LoraConfig(task_type=task, r=4, lora_alpha=6, target_modules=query_value),
            f"{model}-lora-all": peft.LoraConfig(task_type=task, r=2, lora_alpha=3, target_modules="all-linear"),
            f"{model}-prompt": peft.PromptTuningConfig(task_type=task, num_virtual_tokens=VIRTUAL),
            f"{model}-ia3": peft.IA3Config(task_type=task),
            f"{model}-ln-tuning": peft.LNTuningConfig(task_type=task, target_modules=norms),
            f"{model}-shira": common.shira(100 * seed, task_type=task, r=2, target_modules=query_value),
            f"{model}-shira-all": common.shira(100 * seed + 50, task_type=task, r=1, target_modules="all-linear"),
        }
    return dict(sorted(found.items()))


def refused():
    """Settings that a reader must reject: name -> (model, settings)."""
    tiny = {"task_type": TASKS["bert"], "r": 1, "lora_alpha": 2, "target_modules": ["query"]}
    found = {
        "bert-lora-dora": ("bert", peft.LoraConfig(use_dora=True, **tiny)),
        "bert-lora-bias": ("bert", peft.LoraConfig(bias="all", **tiny)),
        "bert-lora-extra": ("bert", peft.LoraConfig(modules_to_save=["token_type_embeddings"], **tiny)),
        "bert-lora-unknown": ("llama", peft.LoraConfig(**tiny | {"target_modules": ["q_proj"]})),
    }
    assert found.keys() == REFUSED.keys()
    return found


def load(folder, task):
    """A checkpoint in f32 with eager attention and without dropout."""
    return CLASSES[task].from_pretrained(folder, **SETTINGS).eval()


def fill(model, name):
    """Gives every trainable parameter seeded values, as if it had been trained.

    Integers are drawn and divided, so that the values are the same on every machine.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    for key, value in model.named_parameters():
        if value.requires_grad:
            start, spread = next(kind for part, kind in KINDS.items() if part in key)
            drawn = torch.randint(-1000, 1001, value.shape, generator=generator) / 1000 * spread
            value.data = drawn + (value.data if start is None else start)


def save(model, folder, base):
    """The files of save_pretrained, without the README and the base's path."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    for key, value in vars(model.peft_config["default"]).items():
        if isinstance(value, set):  # written in an order that differs from run to run
            config[key] = sorted(value)
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def make(folder, name, model, config, base):
    """Saves an adapter with seeded values for a tiny checkpoint."""
    tuned = peft.get_peft_model(load(FIXTURES / f"{model}-tiny", config.task_type), config)
    fill(tuned, name)
    save(tuned, folder / name, base)


def rows(model):
    """The ids of the texts, padded as usual for the family: input_ids, attention_mask, for T5 decoder_input_ids."""
    folder = FIXTURES / f"{model}-tiny"
    config = transformers.AutoConfig.from_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    ids = common.encode(tokenizer, TEXTS, MOST_TOKENS)
    assert len(ids[0]) > len(ids[1]) > len(ids[2])
    found = dict(zip(("input_ids", "attention_mask"), common.pad(ids, config.pad_token_id)))
    if PADDING[model] == "left":
        found = {name: torch.stack([r.roll(len(r) - len(i)) for r, i in zip(t, ids)]) for name, t in found.items()}
    if model == "t5":
        # All of the same length, so that no target has padding.
        targets = [row[: TARGET_TOKENS - 1] for row in common.encode(tokenizer, TARGETS, MOST_TOKENS)]
        found["decoder_input_ids"] = torch.tensor([[config.decoder_start_token_id] + row for row in targets])
    return found


def masked(value, task, mask):
    """Sets outputs of padding to 0; virtual tokens come first and are not padding."""
    if task not in MASKED:
        return value
    kept = F.pad(mask, (value.shape[1] - mask.shape[1], 0), value=1).unsqueeze(-1)
    return value.masked_fill(kept == 0, 0)


@torch.no_grad()
def output(model, task, inputs):
    """Scores or last hidden states of some rows."""
    out = model(**inputs)
    value = out.last_hidden_state if task == "FEATURE_EXTRACTION" else out.logits
    return masked(value, task, inputs["attention_mask"])


def alone(model, task, inputs):
    """The same for a decoder, row by row without padding, placed at the row's position in the batch."""
    found = []
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"]):
        row = {"input_ids": ids[mask == 1][None], "attention_mask": mask[mask == 1][None]}
        value = output(model, task, row)[0]
        virtual = len(value) - int(mask.sum())
        padding = value.new_zeros(len(ids) + virtual - len(value), value.shape[-1])
        found.append(torch.cat([value[:virtual], padding, value[virtual:]]))
    return torch.stack(found)


def outputs(folder, configs, inputs):
    """Outputs of the adapters in a folder and of the bases, by name of the case; and facts about each."""
    found, facts = {}, {}
    for task, model in [("SEQ_CLS", "bert"), *((task, model) for model, task in TASKS.items())]:
        name = f"{model}-base" + ("-seq-cls" if task == "SEQ_CLS" else "")
        found[name] = output(load(FIXTURES / f"{model}-tiny", task), task, inputs[model])
        facts[name] = {"model": f"{model}-tiny", "task": task}
    for name, config in configs.items():
        model, task = name.split("-")[0], config.task_type
        tuned = peft.PeftModel.from_pretrained(load(FIXTURES / f"{model}-tiny", task), folder / name).eval()
        value = found[name] = output(tuned, task, inputs[model])
        base = found[f"{model}-base" + ("-seq-cls" if task == "SEQ_CLS" else "")]
        moved = (value[:, value.shape[1] - base.shape[1] :] - base).abs().max().item()
        assert value.isfinite().all() and moved >= MOVED, f"{name}: {moved} from the base"
        facts[name] = {"model": f"{model}-tiny", "task": task, "from_base_max_abs": moved}
        # In f64 a row that attends only to padding gives NaN, because softmax is still computed in f32.
        way = alone if task == "CAUSAL_LM" else output
        value = way(tuned, task, inputs[model])
        if task == "CAUSAL_LM" and config.is_prompt_learning:
            found[f"{name}.alone"] = value
        exact = way(tuned.double(), task, inputs[model])
        facts[name]["f32_from_f64_max_abs_over_max"] = common.relative(value, exact)
    return found, facts


def same(folder, stored, names):
    """Fails if an adapter of a folder differs from the stored one."""
    for name in names:
        made, kept = (load_file(side / name / ADAPTER) for side in (folder, stored))
        assert made.keys() == kept.keys(), f"{name}: {sorted(made.keys() ^ kept.keys())} on one side only"
        for key, value in made.items():
            assert value.dtype == kept[key].dtype and torch.equal(value, kept[key]), f"{name}: {key} is another"
        made, kept = (json.loads((side / name / CONFIG).read_text(encoding="utf-8")) for side in (folder, stored))
        assert made == kept, f"{name}: {CONFIG} is another"
    there = {path.parent.relative_to(stored).as_posix() for path in stored.rglob(CONFIG)}
    assert there == set(names), f"{sorted(there ^ set(names))} on one side only"


def make_all(folder):
    """Writes every adapter; returns their names."""
    names = []
    for name, config in cases().items():
        model = name.split("-")[0]
        make(folder, name, model, config, f"{model}-tiny")
        names.append(name)
    for name, (model, config) in refused().items():
        make(folder / "refused", name, model, config, "bert-tiny")
        names.append(f"refused/{name}")
    return names


def check(out):
    """Compares recreated adapters with the stored ones, and checks the outputs of the stored ones."""
    with tempfile.TemporaryDirectory() as folder:
        names = make_all(Path(folder))
        same(Path(folder), out, names)
    about = json.loads((out / "inputs.json").read_text(encoding="utf-8"))
    inputs = {model: rows(model) for model in TASKS}
    for model, tensors in inputs.items():
        assert {key: value.tolist() for key, value in tensors.items()} == {
            key: about["models"][f"{model}-tiny"][key] for key in tensors
        }, f"{model}: other inputs are stored"
    found, _ = outputs(out, cases(), inputs)
    stored = load_file(out / "outputs.safetensors")
    assert found.keys() == stored.keys(), f"{sorted(found.keys() ^ stored.keys())} on one side only"
    worst = {name: common.relative(value, stored[name]) for name, value in found.items()}
    name = max(worst, key=worst.get)
    print(f"{len(names)} adapters equal; {len(found)} outputs at most {worst[name]:.1e} apart ({name})")
    sys.exit(0 if worst[name] <= TOLERANCE else 1)


def write(out):
    """Writes the adapters, the inputs and the outputs."""
    make_all(out)
    inputs = {model: rows(model) for model in TASKS}
    found, facts = outputs(out, cases(), inputs)
    save_file(found, out / "outputs.safetensors")
    models = {
        f"{model}-tiny": {"padding": PADDING[model]} | {key: value.tolist() for key, value in tensors.items()}
        for model, tensors in inputs.items()
    }
    about = {
        "about": "adapters as peft saves them and what the tiny checkpoints give with them; made by "
        "tests/peers/adapters.py; outputs.safetensors has an output a case, and NAME.alone",
        "settings": {
            "attention": "eager",
            "dtype": "f32",
            "dropout": 0,
            "virtual_tokens": VIRTUAL,
            "output": {
                "SEQ_CLS": "logits [rows, labels]",
                "FEATURE_EXTRACTION": "last hidden state [rows, virtual + tokens, width], 0 on padding",
                "SEQ_2_SEQ_LM": "logits of the decoder [rows, targets, vocabulary]",
                "CAUSAL_LM": "logits [rows, virtual + tokens, vocabulary], 0 on padding",
            },
            "place": "virtual tokens stand before the row, and before its padding where that is on the left; "
            "Llama counts positions over that padding, so a padded row has other logits than alone",
            "alone": "NAME.alone: the rows one by one without padding, put where they are in the batch",
        },
        "versions": common.versions(),
        "texts": TEXTS,
        "targets": TARGETS,
        "models": models,
        "refused": REFUSED,
        "cases": [{"name": name} | fact for name, fact in facts.items()],
    }
    common.write_json(out / "inputs.json", about, lists=("cases",))
    for fact in about["cases"]:
        print(" ".join(f"{key} {value:.1e}" if isinstance(value, float) else str(value) for key, value in fact.items()))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{len(facts)} outputs, {size} bytes")


def with_adapter(folder, base, task):
    """A tiny checkpoint with an adapter; checks that every tensor of the file is used."""
    config = peft.PeftConfig.from_pretrained(folder)
    assert config.task_type in (task, None), f"task_type is {config.task_type}"
    model = peft.PeftModel.from_pretrained(load(base, task), folder).eval()
    # peft ignores unknown tensors.
    placed, given = peft.get_peft_model_state_dict(model, save_embedding_layers=False), load_file(folder / ADAPTER)
    assert placed.keys() == given.keys(), f"{sorted(placed.keys() ^ given.keys())} on one side only"
    for name, value in given.items():
        assert torch.equal(placed[name].double(), value.double()), f"{name} is not what the model has"
    return model


def merged(folder, task):
    """A merged checkpoint; checks that every tensor is used."""
    model, info = CLASSES[task].from_pretrained(folder, output_loading_info=True, **SETTINGS)
    assert not info["mismatched_keys"], f"mismatched_keys: {info['mismatched_keys']}"
    for kind in ("missing_keys", "unexpected_keys"):
        wrong = [name for name in info[kind] if not KNOWN.fullmatch(name)]
        if task == "FEATURE_EXTRACTION":
            wrong = [name for name in wrong if not BEHIND.fullmatch(name)]
        assert not wrong, f"{kind}: {sorted(wrong)}"
    return model.eval()


def load_all(folder):
    """Compares every case that apet wrote; exits with 1 if one differs, or there is none."""
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    failed = 0
    for case in found:
        try:
            worst = compare(case)
            verdict = f"{worst:.1e} of the largest value apart, allowed {TOLERANCE:.0e}"
        except Exception as error:  # an invalid case does not keep the others from being compared
            worst, verdict = float("nan"), f"{type(error).__name__}: {error}"
        right = worst <= TOLERANCE
        failed += not right
        print(f"{'ok' if right else 'FAILED'} {case.name}: {verdict}", flush=True)
    print(f"{len(found) - failed} of {len(found)} cases as apet has them")
    sys.exit(0 if found and not failed else 1)


def compare(case):
    """The difference between a case and the output computed by apet."""
    base, task = ((case / name).read_text(encoding="utf-8").strip() for name in ("model.txt", "task.txt"))
    expected = load_file(case / "expected.safetensors")
    wanted = expected.pop("output")
    inputs = {name: value.long() for name, value in expected.items()}
    model = with_adapter(case, FIXTURES / base, task) if (case / CONFIG).exists() else merged(case, task)
    values = [output(model, task, inputs)]
    assert values[0].shape == wanted.shape, f"output is {list(wanted.shape)}, here {list(values[0].shape)}"
    if task == "CAUSAL_LM" and wanted.shape[1] > inputs["input_ids"].shape[1]:
        # If peft counts the padding between virtual tokens and row, the row alone is equally correct.
        values.append(alone(model, task, inputs))
    wanted = masked(wanted, task, inputs["attention_mask"])
    return min(common.relative(wanted, value) for value in values)


def main():
    args = arguments()
    torch.set_num_threads(2)
    if args.load:
        load_all(Path(args.load))
    elif args.check:
        check(Path(args.out))
    else:
        write(Path(args.out))


if __name__ == "__main__":
    main()
