"""Prompts and token ids of each task's rows for each family's tokenizer, and scores of answers, from the Python packages.

    python tests/peers/tasks.py --out tests/fixtures/tasks/golden.json [--check]

The rows (tests/fixtures/tasks/NAME.jsonl) are written for this purpose, with the columns of the Hugging Face hub's data sets.
"""

import argparse
import json
import pathlib

from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score
from tokenizers import Tokenizer
from torchmetrics.functional.text import squad

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
SENTIMENT = ["negative", "positive"]
NLI = ["entailment", "neutral", "contradiction"]
ENTAILED = ["entailment", "not_entailment"]

# name: columns of the texts, column of the answer, classes (none if answers are texts), tokens of an answer
TASKS = {
    "sst2": (["sentence"], "label", SENTIMENT, 0),
    "imdb": (["text"], "label", SENTIMENT, 0),
    "rotten_tomatoes": (["text"], "label", SENTIMENT, 0),
    "mnli": (["premise", "hypothesis"], "label", NLI, 0),
    "qnli": (["question", "sentence"], "label", ENTAILED, 0),
    "rte": (["sentence1", "sentence2"], "label", ENTAILED, 0),
    "mrpc": (["sentence1", "sentence2"], "label", ["not_equivalent", "equivalent"], 0),
    "qqp": (["question1", "question2"], "label", ["not_duplicate", "duplicate"], 0),
    "nq_open": (["question"], "answer", [], 16),
    "samsum": (["dialogue"], "summary", [], 64),
    "multi_news": (["document"], "summary", [], 256),
}
LENGTH = 64
SHOWN = 4


def right(row, column, classes):
    """Every correct answer of a row, as text."""
    answer = row[column]
    if classes:
        return [classes[answer]]
    return [text.strip() for text in (answer if isinstance(answer, list) else [answer])]


def families(prompts, rows, columns, targets, most):
    """Token ids, with the special tokens that the family's tokenizer adds."""
    bert, bloom, t5 = (Tokenizer.from_file(str(FIXTURES / f"{name}-tiny/tokenizer.json")) for name in ("bert", "bloom", "t5"))
    for tokenizer in (bert, bloom, t5):
        tokenizer.no_padding()
        tokenizer.no_truncation()
    bert.enable_truncation(LENGTH, strategy="longest_first")
    found = {"bert": [bert.encode(*(row[column] for column in columns)).ids for row in rows], "bloom": [], "t5": []}
    for prompt, target in zip(prompts, targets):
        ends = {"bloom": (bloom, " ", 2), "t5": (t5, "", 1)}
        for name, (tokenizer, space, end) in ends.items():
            # Truncated at the beginning, because the end of a prompt asks the question.
            source = tokenizer.encode(prompt).ids[-LENGTH:]
            written = tokenizer.encode(space + target, add_special_tokens=False).ids + [end]
            found[name].append({"source": source, "target": written[: most or None]})
    return found


def answers(rights, classes):
    """A plausible answer: a correct one without its last word, or that of the next row."""
    if classes:
        return [rights[(at + 3) % len(rights)][0] if at % 3 == 0 else right[0] for at, right in enumerate(rights)]
    return [" ".join(right[-1].split()[:-1]) if at % 2 else rights[(at + 1) % len(rights)][0] for at, right in enumerate(rights)]


def score(name, given, rights, classes):
    if classes:
        return "accuracy", accuracy_score([right[0] for right in rights], given)
    if name == "nq_open":
        said = [{"prediction_text": text, "id": str(at)} for at, text in enumerate(given)]
        golds = [{"answers": {"answer_start": [0] * len(texts), "text": texts}, "id": str(at)} for at, texts in enumerate(rights)]
        return "squad_f1", squad(said, golds)["f1"].item() / 100
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    each = [max(scorer.score(text, said)["rougeL"].fmeasure for text in texts) for said, texts in zip(given, rights)]
    return "rouge_l", sum(each) / len(each)


def figures():
    found = {}
    for name, (columns, column, classes, most) in TASKS.items():
        rows = [json.loads(line) for line in (FIXTURES / f"tasks/{name}.jsonl").read_text().split("\n") if line]
        rights = [right(row, column, classes) for row in rows]
        prompts = ["Input: " + " ".join(f"{column}: {row[column]}" for column in columns) + " Output:" for row in rows]
        given = answers(rights, classes)
        metric, value = score(name, given, rights, classes)
        shown = rows[:SHOWN]
        found[name] = {
            "rows": len(rows),
            "right": rights,
            "prompts": prompts[:SHOWN],
            "families": families(prompts[:SHOWN], shown, columns, [texts[0] for texts in rights], most),
            "given": given,
            "metric": metric,
            "score": float(value),
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare with the existing file, write nothing")
    args = parser.parse_args()
    lines = [f"{json.dumps(name)}: {json.dumps(task, ensure_ascii=False)}" for name, task in figures().items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if not args.check:
        args.out.write_text(text)
    elif args.out.read_text() != text:
        raise SystemExit(f"{args.out}: differs from what the packages say")


if __name__ == "__main__":
    main()
