"""Golden values of GLUE's metrics, from scikit-learn and SciPy, and of the lengths that pairs are cut to, from tokenizers.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 tokenizers==0.23.3
    /tmp/golden/bin/python tests/golden/make_glue.py tests/golden/tokenizers/bert/vocab.txt > tests/golden/glue.json
"""
import json
import sys

import numpy as np
import scipy
import sklearn
import tokenizers
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

SEED = 20240608


def classes(rng, count, agreement):
    truth = rng.integers(0, 2, count)
    same = rng.random(count) < agreement
    return np.where(same, truth, 1 - truth), truth


def main(vocabulary):
    rng = np.random.default_rng(SEED)
    classified = []
    pairs = [classes(rng, count, agreement) for count, agreement in [(1, 1), (7, 0.5), (50, 0.8), (408, 0.3)]]
    pairs += [(np.zeros(6, int), np.array([0, 1, 1, 0, 1, 0])), (np.ones(4, int), np.ones(4, int)),
              (np.zeros(3, int), np.zeros(3, int))]
    for predicted, truth in pairs:
        classified.append({"predicted": predicted.tolist(), "truth": truth.tolist(),
                           "accuracy": accuracy_score(truth, predicted),
                           "f1": f1_score(truth, predicted, zero_division=0),
                           "matthews": matthews_corrcoef(truth, predicted)})
    scored = []
    for count, noise, step in [(5, 0.1, 0), (40, 1.0, 0), (200, 0.7, 0.5), (30, 2.0, 1.0)]:
        truth = rng.uniform(0, 5, count)
        predicted = truth + noise * rng.normal(size=count)
        if step:  # ties
            truth, predicted = np.round(truth / step) * step, np.round(predicted / step) * step
        scored.append({"predicted": predicted.tolist(), "truth": truth.tolist(),
                       "pearson": float(pearsonr(predicted, truth).statistic),
                       "spearman": float(spearmanr(predicted, truth).statistic)})

    tokenizer = tokenizers.BertWordPieceTokenizer(vocabulary)
    cuts = []
    for first, second, most in [(3, 4, 10), (3, 4, 7), (3, 20, 13), (20, 3, 13), (20, 20, 13), (21, 20, 13), (20, 21, 13),
                                (9, 8, 13), (6, 30, 12), (30, 30, 12), (7, 6, 12), (0, 9, 5), (9, 0, 5), (1, 9, 2)]:
        tokenizer.enable_truncation(max_length=most + 3, strategy="longest_first")
        encoded = tokenizer.encode(" ".join(["a"] * first), " ".join(["a"] * second))
        kept = [sum(1 for t, s in zip(encoded.type_ids, encoded.special_tokens_mask) if not s and t == k) for k in (0, 1)]
        cuts.append([first, second, most, *kept])
    json.dump({"generator": "tests/golden/make_glue.py", "seed": SEED, "numpy": np.__version__, "scipy": scipy.__version__,
               "scikit-learn": sklearn.__version__, "tokenizers": tokenizers.__version__,
               "classified": classified, "scored": scored, "cuts": cuts}, sys.stdout)


main(sys.argv[1])
