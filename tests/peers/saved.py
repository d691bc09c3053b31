"""Writes tests/fixtures/arrow: a dataset as saved by `datasets` (pip install datasets==5.2.0, which the other scripts do not need),
without its dataset_info.json files.

python tests/peers/saved.py OUT
"""

import sys
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
features = Features({"sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"]), "answers": List(Value("string")), "idx": Value("int32"), "weight": Value("float32")})
def rows(split, n):
    return Dataset.from_dict({"sentence": [f"{split} {i} schön" for i in range(n)], "label": [i % 2 for i in range(n)], "answers": [[f"a {i}", f"b {i}"][: 1 + i % 2] for i in range(n)], "idx": list(range(n)), "weight": [i / 2 for i in range(n)]}, features=features)
data = DatasetDict({"train": rows("train", 20), "validation": rows("validation", 5)})
data.save_to_disk(sys.argv[1], num_shards={"train": 2, "validation": 1})
