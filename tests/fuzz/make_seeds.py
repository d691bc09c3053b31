"""Writes the initial inputs of the fuzz targets: tests/fuzz/seeds.

python3 tests/fuzz/make_seeds.py
"""

import json
import struct
from pathlib import Path

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"


def write(target: str, name: str, data: bytes) -> None:
    path = HERE / "seeds" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def safetensors(tensors: dict[str, tuple[str, list[int], int]]) -> bytes:
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


write("safetensors", "two", safetensors({"a.weight": ("F32", [2, 3], 24), "b": ("BF16", [4], 8)}))
write("safetensors", "half", safetensors({"w": ("F16", [3, 2], 12), "ids": ("I64", [2], 16)}))
write("safetensors", "empty", safetensors({}))


def index(files: list[str]) -> bytes:
    names = {f"layer.{i}": file for i, file in enumerate(files)}
    return json.dumps({"metadata": {"total_size": 8}, "weight_map": names}).encode()


write("index", "shards", index([f"model-0000{i}-of-00002.safetensors" for i in (1, 2, 1)]))
write("index", "outside", index(["../model.safetensors", ".model.safetensors"]))

for config in sorted(FIXTURES.glob("*/config.json")):
    write("config", config.parent.name, config.read_bytes())
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
llama = json.loads((FIXTURES / "llama-tiny/config.json").read_text())
llama["rope_parameters"] = {**LLAMA3, "original_max_position_embeddings": 8192, "rope_theta": 5e5}
write("config", "llama3", json.dumps({**llama, "eos_token_id": [1, 2]}).encode())


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(architecture: str, pre: str) -> bytes:
    """One block of width 32: every kind of field, and F32, F16, Q4_0, Q4_1 and Q8_0."""
    tokens = ["a", "b", "ab", "<s>", "</s>"]
    integers = lambda **fields: [
        (f"{architecture}.{name}".replace("__", "."), struct.pack("<II", 4, value))
        for name, value in fields.items()
    ]
    texts = lambda values: struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))
    fields = [
        ("general.architecture", struct.pack("<I", 8) + text(architecture)),
        ("general.alignment", struct.pack("<II", 4, 32)),
        *integers(
            attention__head_count=2, attention__head_count_kv=1, embedding_length=32,
            feed_forward_length=32, block_count=1, context_length=64,
        ),
        (f"{architecture}.attention.layer_norm_rms_epsilon", struct.pack("<If", 6, 1e-5)),
        ("tokenizer.ggml.model", struct.pack("<I", 8) + text("gpt2")),
        ("tokenizer.ggml.pre", struct.pack("<I", 8) + text(pre)),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.merges", texts(["a b"])),
        ("tokenizer.ggml.token_type", struct.pack("<IIQ", 9, 5, 5) + struct.pack("<5i", 1, 1, 1, 3, 3)),
        ("tokenizer.ggml.eos_token_id", struct.pack("<II", 4, 4)),
        ("tokenizer.ggml.add_bos_token", struct.pack("<I?", 7, False)),
    ]
    blocks = {0: 128, 1: 64, 2: 18, 3: 20, 8: 34}  # bytes of 32 numbers by type
    names = [
        ("token_embd.weight", 5, 8), ("output_norm.weight", 1, 0), ("blk.0.attn_norm.weight", 1, 0),
        ("blk.0.attn_q.weight", 32, 2), ("blk.0.attn_k.weight", 16, 3), ("blk.0.ffn_up.weight", 32, 1),
    ]
    header, data = b"", b""
    for name, rows, kind in names:
        dims = [32, rows] if rows > 1 else [32]
        header += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        header += struct.pack("<IQ", kind, len(data))
        size = blocks[kind] * rows
        data += bytes(size + -size % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(names), len(fields))
    head += b"".join(text(name) + value for name, value in fields) + header
    return head + bytes(-len(head) % 32) + data


write("gguf", "llama", gguf("llama", "smollm"))
write("gguf", "qwen2", gguf("qwen2", "qwen2"))


def tokenizer(**parts: object) -> bytes:
    special = {"id": 0, "content": "[UNK]", "single_word": False, "lstrip": False,
               "rstrip": False, "normalized": False, "special": True}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [special],
             "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return json.dumps({**whole, **parts}).encode()


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
write("tokenizer", "wordpiece", tokenizer(
    normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                "strip_accents": None, "lowercase": True},
    pre_tokenizer={"type": "BertPreTokenizer"},
    post_processor={"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "[UNK]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {"[UNK]": {"id": "[UNK]", "ids": [0], "tokens": ["[UNK]"]}}},
    decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
           "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "it": 1, "is": 2, "fi": 3, "##ne": 4}},
))
write("tokenizer", "bpe", tokenizer(
    pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
    post_processor=BYTE_LEVEL, decoder=BYTE_LEVEL,
    model={"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
           "vocab": {"[UNK]": 0, "I": 1, "t": 2, "It": 3, "\u0120": 4, "1": 5}, "merges": [["I", "t"]]},
))
write("tokenizer", "split", tokenizer(
    pre_tokenizer={"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|\\s+(?!\\S)|[^\\s]+"},
                   "behavior": "Isolated", "invert": False},
    model={"type": "BPE", "vocab": {"[UNK]": 0, "x": 1, "y": 2, "xy": 3}, "merges": ["x y"]},
))
write("tokenizer", "unigram", tokenizer(
    normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
    pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    decoder={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    model={"type": "Unigram", "unk_id": 0, "byte_fallback": False,
           "vocab": [["[UNK]", 0.0], ["\u2581", -2.0], ["\u2581It", -3.5], ["is", -4.0], ["x", -5.0]]},
))
# SentencePiece's own table of characters, with a short model.
spiece = json.loads((FIXTURES / "t5-tiny/spiece.tokenizer.json").read_text())
spiece["model"]["vocab"] = spiece["model"]["vocab"][:40]
write("tokenizer", "spiece", json.dumps(spiece).encode())
