"""Probabilities and entropies as steps of a scale and as words.

Pure functions of numbers; none returns, or fails on, what is not a number.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

# Where the next step begins: going down in probability, going up in entropy (nats).
PROBABILITY_STEPS = (0.9, 0.5, 0.2, 0.05, 0.01)
ENTROPY_STEPS = (0.1, 0.5, 1.0, 2.0, 4.0)
# Sums of float32 probabilities are no more exact than this.
ROUNDING = 1e-6
_DIGITS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def probability(logprob: float) -> float:
    """The probability, 0 to 1, of a log-probability in nats; 0 for what is not a number."""
    return 0.0 if math.isnan(logprob) else math.exp(min(0.0, logprob))


def probability_step(share: float) -> int:
    """0 for what was all but certain to 5 for what was hardly possible."""
    return sum(share < bound for bound in PROBABILITY_STEPS)


def entropy_step(nats: float) -> int:
    """0 where the model was sure of one token to 5 where it had no idea."""
    return 0 if math.isnan(nats) else bisect_right(ENTROPY_STEPS, nats)


def format_percent(share: float) -> str:
    """A probability in percent, with as many digits as tell something: 12.3 %, 0.032 %."""
    percent = 100 * share
    if share <= 0 or share >= 1:
        return "100 %" if share >= 1 else "0 %"
    if percent >= 99.95:
        return "> 99.9 %"
    if percent >= 0.995:
        return f"{percent:.1f} %"
    digits, _, power = f"{percent:.1e}".partition("e")  # first rounded, then shown
    if int(power) >= -3:
        return f"{percent:.{1 - int(power)}f} %"
    return f"{digits} × 10{str(int(power)).translate(_DIGITS)} %"


def format_nats(entropy: float) -> str:
    """An entropy with its unit."""
    if not entropy > 0:
        return "0 nats"
    return f"{entropy:.1f} nats" if entropy >= 0.95 else f"{_small(entropy)} nats"


def _small(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else "< 0.01"


def others(shares: Sequence[float]) -> str:
    """What these probabilities leave for all other tokens."""
    left = 1 - math.fsum(shares)
    return f"< {format_percent(ROUNDING)}" if left < ROUNDING else format_percent(left)


def format_perplexity(value: float) -> str:
    """A perplexity in three digits."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def probability_legend() -> list[str]:
    """The steps of probability in words, the likeliest first."""
    bounds = [f"{bound:.0%}".replace("%", " %") for bound in PROBABILITY_STEPS]
    between = [f"{low.split()[0]} – {high}" for high, low in pairwise(bounds)]
    return [f"{bounds[0]} and more", *between, f"below {bounds[-1]}"]


def entropy_legend() -> list[str]:
    """The steps of entropy in words, the surest first; in nats."""
    bounds = [f"{bound:g}" for bound in ENTROPY_STEPS]
    between = [f"{low} – {high}" for low, high in pairwise(bounds)]
    return [f"below {bounds[0]} nats", *between, f"{bounds[-1]} and more"]
