"""What stands on plates: serials in groups, and the words around them, drawn at random."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

_WORDS = (
    "ALABAMA ALASKA ARIZONA CALIFORNIA COLORADO FLORIDA GEORGIA HAWAII IDAHO ILLINOIS INDIANA IOWA"
    " KANSAS KENTUCKY MAINE MARYLAND MICHIGAN MISSOURI MONTANA NEVADA OHIO OREGON TEXAS UTAH"
    " VERMONT VIRGINIA WYOMING ONTARIO QUEBEC GARDEN STATE SUNSHINE LIVE FREE MOTORS DEALER AUTO"
    " GROUP FORD TOYOTA HONDA KIA PURE COUNTY CITY LAND OF LAKES THE GREAT CENTENNIAL USA"
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
# Serial formats avoid the letters that look like digits; vanity plates use every letter.
_LETTER_WEIGHTS = np.array([0.35 if c in "IOQ" else 1.0 for c in LETTERS])
_LETTER_WEIGHTS /= _LETTER_WEIGHTS.sum()


def random_letters(rng: np.random.Generator, n: int) -> str:
    """Letters as serials have them."""
    return "".join(rng.choice(list(LETTERS), size=n, p=_LETTER_WEIGHTS))


def random_digits(rng: np.random.Generator, n: int) -> str:
    """Digits, all as likely."""
    return "".join(rng.choice(list(_DIGITS), size=n))


def random_groups(rng: np.random.Generator) -> list[str]:
    """Draw a plate's text as one to three groups, 4 to 8 characters together (rarely 2 or 3)."""
    total = int(rng.choice([2, 3, 4, 5, 6, 7, 8], p=[0.01, 0.02, 0.07, 0.15, 0.38, 0.30, 0.07]))
    style = rng.random()
    if style < 0.40:  # runs of letters and digits
        runs: list[str] = []
        letters = bool(rng.random() < 0.5)
        while (left := total - sum(map(len, runs))) > 0:
            n = min(left, int(rng.integers(1, 5)))
            runs.append(random_letters(rng, n) if letters else random_digits(rng, n))
            letters = not letters
        text = "".join(runs)
        cuts = np.cumsum([len(r) for r in runs])[:-1].tolist()
    else:
        if style < 0.75:
            pool = rng.permutation(list(LETTERS + _DIGITS + _DIGITS))
            text = "".join(rng.choice(pool, size=total))
        elif style < 0.88:
            text = random_digits(rng, total)
        else:
            text = "".join(rng.choice(list(LETTERS), size=total))
        cuts = []
    if not cuts and rng.random() < 0.6 and total > 3:
        cuts = [int(rng.integers(2, total - 1))]
    if rng.random() < 0.25:
        cuts = []
    edges = [0, *cuts[:2], total]
    return [text[a:b] for a, b in pairwise(edges)]


def random_words(rng: np.random.Generator) -> str:
    """One to three words of the kind that surrounds a serial."""
    return " ".join(rng.choice(_WORDS.split(), size=int(rng.integers(1, 4))))
