"""Scores the output of `apet predict` with rouge-score, sacreBLEU, scikit-learn and torchmetrics (SQuAD), and compares.

    python tests/peers/predictions.py ANSWERS.jsonl RECORD.jsonl
"""

import argparse
import json
import pathlib

from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torchmetrics.functional.text import squad

from metrics import bleu


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def classes(rows, labels):
    numbers = {label: number for number, label in enumerate(labels)}
    return [numbers[row["right"][0]] for row in rows], [numbers.get(row["answer"], len(labels)) for row in rows]


def rouge_l(rows, _):
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    best = [max(scorer.score(right, row["answer"])["rougeL"].fmeasure for right in row["right"]) for row in rows]
    return sum(best) / len(best)


def squad_f1(rows, _):
    predictions = [{"prediction_text": row["answer"], "id": str(at)} for at, row in enumerate(rows)]
    targets = [{"answers": {"answer_start": [0] * len(row["right"]), "text": row["right"]}, "id": str(at)} for at, row in enumerate(rows)]
    return squad(predictions, targets)["f1"].item() / 100


METRICS = {
    "accuracy": lambda rows, labels: accuracy_score(*classes(rows, labels)),
    "f1": lambda rows, labels: f1_score(*classes(rows, labels)),
    "matthews": lambda rows, labels: matthews_corrcoef(*classes(rows, labels)),
    "rouge_l": rouge_l,
    "bleu": lambda rows, _: bleu([(row["answer"], row["right"]) for row in rows]),
    "squad_f1": squad_f1,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("answers", type=pathlib.Path)
    parser.add_argument("record", type=pathlib.Path, help="the run's record, with its test score")
    args = parser.parse_args()
    record = lines(args.record)
    metric = next(line["metric"] for line in record if line["kind"] == "eval")
    rows = lines(args.answers)
    theirs = METRICS[metric](rows, record[0]["task"]["labels"])
    ours = record[-1]["test"]
    print(f"{metric} of {len(rows)} rows: {theirs:.6f}, ours {ours:.6f}")
    # torchmetrics computes in single precision.
    if abs(theirs - ours) > 1e-6:
        raise SystemExit("they differ")


if __name__ == "__main__":
    main()
