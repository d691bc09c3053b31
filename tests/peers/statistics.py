"""Figures from SciPy, for the tests of apet-study's statistics.

    python tests/peers/statistics.py --out tests/fixtures/statistics.json [--check]

Intervals of means are Student's. Curves are fitted by scipy.optimize.least_squares from many starting points; an interval of a
count is the profile likelihood's, by an F-test.
"""

import argparse
import json
import math
import pathlib

import numpy as np
from scipy import optimize, stats

LISTS = [[0.80, 0.82, 0.81, 0.79, 0.83], [0.5, 0.7], [0.612, 0.644, 0.601], [1.0, 1.0, 0.0], list(np.round(np.linspace(0.3, 0.9, 17) ** 2, 6))]

# low, high, slope, ln of the count half way, noise
CURVES = [(0.5, 0.8, 1.0, 7.0, 0.01), (0.45, 0.9, 0.6, 6.0, 0.02), (0.55, 0.78, 1.8, 8.0, 0.015), (0.5, 0.85, 0.8, 5.5, 0.03)]
COUNTS = [10, 52, 268, 1389, 7197, 37276, 193070, 1000000]


def value(p, x, share):
    low, high, slope, theta = p
    return low + (high - low) / (1 + np.exp(-(slope * (x - theta) + math.log(share / (1 - share)))))


def fit(x, y, share, theta=None):
    """The best curve, with theta given or not: (low, high, slope, theta), sum of squares."""
    best = None
    for place in (np.linspace(x.min(), x.max(), 9) if theta is None else [theta]):
        for slope in (0.3, 1.0, 3.0):
            start = [y.min(), y.max(), slope] + ([place] if theta is None else [])
            whole = (lambda p: p) if theta is None else (lambda p: [*p, theta])
            bounds = ([-1, -1, 1e-2] + [-50] * (theta is None), [2, 2, 100] + [50] * (theta is None))
            found = optimize.least_squares(lambda p: value(whole(p), x, share) - y, start, bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15)
            if best is None or 2 * found.cost < best[1]:
                best = ([float(v) for v in whole(found.x)], 2 * float(found.cost))
    return best


def interval(x, y, share):
    best, squares = fit(x, y, share)
    freedom = len(x) - 4
    most = squares * (1 + stats.f.ppf(0.95, 1, freedom) / freedom)
    ends = []
    for direction in (-1, 1):
        step, inside = 0.05, best[3]
        while fit(x, y, share, inside + direction * step)[1] <= most:
            inside += direction * step
            step *= 1.4
        ends.append(optimize.brentq(lambda theta: fit(x, y, share, theta)[1] - most, inside, inside + direction * step, xtol=1e-9))
    return best, squares, sorted(ends)


def figures():
    found = {"means": [], "curves": []}
    for values in LISTS:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        found["means"].append({"values": values, "mean": float(np.mean(values)), "low": float(low), "high": float(high)})
    draw = np.random.default_rng(0)
    for *curve, noise in CURVES:
        counts = np.repeat(np.array(COUNTS, dtype=float), 5)
        scores = np.round(value(curve, np.log(counts), 0.5) + noise * draw.standard_normal(len(counts)), 6)
        for share in (0.5, 0.9):
            best, squares, (low, high) = interval(np.log(counts), scores, share)
            case = {"counts": counts.tolist(), "scores": scores.tolist(), "share": share, "curve": best, "squares": squares}
            found["curves"].append({**case, "low": low, "high": high})
    return found


def digits(x):
    """Rounds to seven digits: further ones differ between processors."""
    if isinstance(x, float):
        return float(f"{x:.7g}")
    if isinstance(x, dict):
        return {key: digits(value) for key, value in x.items()}
    return [digits(value) for value in x] if isinstance(x, list) else x


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare with the existing file, write nothing")
    args = parser.parse_args()
    text = json.dumps(digits(figures())) + "\n"
    if not args.check:
        args.out.write_text(text)
    elif args.out.read_text() != text:
        raise SystemExit(f"{args.out}: differs from what SciPy says")


if __name__ == "__main__":
    main()
