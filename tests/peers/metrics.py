"""Figures from rouge-score, sacreBLEU, scikit-learn and torchmetrics (SQuAD), for the tests of apet-tasks' metrics.

    python tests/peers/metrics.py --out tests/fixtures/metrics.json [--check]

The texts are written for this purpose. The words come from the ladder's tokenizer, and so from old books.
"""

import argparse
import json
import pathlib
import random

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torchmetrics.functional.text import squad

ROOT = pathlib.Path(__file__).parents[2]

# Endings of every rule of the stemmer, on stems of several lengths.
STEMS = ["b", "tr", "oat", "agre", "hop", "fil", "hiss", "fizz", "fall", "cease", "conflat", "troubl", "siz", "geo", "archaeo", "syzyg", "enjo", "happ", "sp", "formal", "sens", "yoy"]
ENDINGS = (
    "s es ies sses ss ied ed eed ing y ly ally ational tional enci anci izer bli abli alli entli eli ousli ization ation ator alism iveness "
    "fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent "
    "ion sion tion ou ism ate iti ous ive ize e ll le ogi"
).split()

SUMMARIES = [
    ("Anna will bring the cakes tomorrow.", "Anna brings cakes tomorrow, and Tom buys drinks."),
    ("", "Nothing was said."),
    ("The meeting was moved to Friday because the room is being painted.", "The meeting is on Friday: painters are in the room."),
    ("Police said on Monday that three people were injured.", "Three people were injured on Monday, police said."),
    ("a b c d", "d c b a"),
    ("The the the the", "the cat"),
    ("Größere Straßen sind naïve £20 cafés", "Grossere Strassen sind naive 20 cafes"),
    ("running runners ran; studies studied studying", "The runner runs. A study, studied."),
    ("He was dying, lying and tying; the skies and the news.", "Sky news: he died and lied, tied."),
    ("x", "x"),
    ("Prices rose 3.5% in 2019", "In 2019 prices rose by 3.5 %"),
]

DESCRIPTIONS = [
    ("The Vaults is a cheap pub near Café Adriatic.", ["The Vaults pub near Café Adriatic has a 5 star rating.", "Close to Café Adriatic, The Vaults is a cheap pub."]),
    ("Blue Spice: prices start at £20-25, e.g. for 3,000.5 people -- really!", ["Blue Spice costs £20-25 for 3,000.5 people.", "At Blue Spice, prices start at £20-25 (e.g. for 3,000.5 people)!"]),
    ("It's &quot;child friendly&quot; &amp; cheap &lt;here&gt;.", ["It's \"child friendly\" & cheap <here>.", "Cheap, and friendly to children."]),
    ("Fitzbillies.", ["Fitzbillies is a coffee shop."]),
    ("A coffee shop in the riverside area, it is called The Eagle", ["The Eagle is a coffee shop in the riverside area.", "In the riverside area there is a coffee shop called The Eagle."]),
    ("", ["Nothing."]),
    ("[Zizzi] {is} ~a~ `family` place/restaurant; 1-5 stars, 4.5.", ["[Zizzi] {is} ~a~ `family` place/restaurant; 1-5 stars, 4.5."]),
]

# No text of articles only: torchmetrics then compares whether both are empty, as in SQuAD 2; SQuAD 1.1 gives an F1 of 0.
ANSWERS = [
    ("The Beatles", ["Beatles", "the beatles"]),
    ("a-ha", ["A-ha", "aha"]),
    ("in 1969", ["1969", "July 20, 1969"]),
    ("", ["something"]),
    ("“The” answer", ["answer"]),
    ("New York City", ["York, New York", "NYC"]),
    ("wrong", ["right", "correct"]),
    ("The U.S. of A.", ["US of A", "USA"]),
    ("Café of the   anthem", ["cafe of anthem", "café anthem"]),
]


def vocabulary():
    vocabulary = json.loads((ROOT / "web/public/models/ladder-nano/tokenizer.json").read_text())["model"]["vocab"]
    known = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3)
    made = sorted({stem + ending for stem in STEMS for ending in ENDINGS})
    return made + known[::6] + ["sky", "skies", "dying", "innings", "howe", "succeed", "proceed", "exceeds", "y", "by", "1990s", "3rdly"]


def classes():
    draw = random.Random(0)
    cases = [([1, 1, 0, 0], [1, 0, 0, 1]), ([0, 0, 0], [0, 1, 0]), ([1, 1], [1, 1]), ([0, 0], [0, 0]), ([2, 2, 2], [0, 1, 2])]
    for count in (2, 2, 3, 6):
        gold = [draw.randrange(count) for _ in range(50)]
        cases.append(([g if draw.random() < 0.6 else draw.randrange(count) for g in gold], gold))
    return cases


def bleu(pairs):
    most = max(len(references) for _, references in pairs)
    columns = [[references[at] if at < len(references) else None for _, references in pairs] for at in range(most)]
    return BLEU().corpus_score([prediction for prediction, _ in pairs], columns).score / 100


def figures():
    stemmer = PorterStemmer()
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    found = {"stems": {word: stemmer.stem(word) for word in vocabulary()}, "classes": [], "rouge": [], "bleu": [], "squad": []}
    for predicted, gold in classes():
        # F1 depends only on whether a row is of the class, so any class can be scored like the second of two.
        binary = [[int(c == 1) for c in of] for of in (predicted, gold)]
        found["classes"].append(
            {
                "predicted": predicted,
                "gold": gold,
                "accuracy": accuracy_score(gold, predicted),
                "f1": f1_score(binary[1], binary[0], pos_label=1, zero_division=0),
                "matthews": matthews_corrcoef(gold, predicted),
            }
        )
    for prediction, target in SUMMARIES:
        scores = scorer.score(target, prediction)
        scores = {name: [score.precision, score.recall, score.fmeasure] for name, score in scores.items()}
        found["rouge"].append({"prediction": prediction, "target": target, **scores})
    cases = [DESCRIPTIONS, DESCRIPTIONS[:1], DESCRIPTIONS[3:4], DESCRIPTIONS[5:6], DESCRIPTIONS[6:], [("one two three", ["four"])]]
    cases += [[("the cat sat there", ["the cat sat on it"])], [(f"{text} {text}", references) for text, references in DESCRIPTIONS]]
    for pairs in cases:
        found["bleu"].append({"pairs": pairs, "score": float(bleu(pairs))})
    for answer, golds in ANSWERS:
        scores = squad(
            [{"prediction_text": answer, "id": "0"}], [{"answers": {"answer_start": [0] * len(golds), "text": golds}, "id": "0"}]
        )
        found["squad"].append({"answer": answer, "golds": golds, "exact": scores["exact_match"].item() / 100, "f1": scores["f1"].item() / 100})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare with the existing file, write nothing")
    args = parser.parse_args()
    text = json.dumps(figures(), ensure_ascii=False, indent=0, default=float) + "\n"
    if not args.check:
        args.out.write_text(text)
    elif args.out.read_text() != text:
        raise SystemExit(f"{args.out}: differs from what the packages say")


if __name__ == "__main__":
    main()
