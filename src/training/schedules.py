"""Schedules: (progress, warmup) -> the share of the full rate. progress: 0..1 of the run; warmup: its share
at the start in which the rate rises.
"""

import math


def cosine(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to 0. Loshchilov and Hutter 2017, arXiv:1608.03983."""
    if progress < warmup:
        return progress / warmup
    return half_cosine((progress - warmup) / max(1 - warmup, 1e-9))


def one_cycle(progress: float, warmup: float, peak: float = 0.3) -> float:
    """Half a cosine up from a 25th in the first 30 %, whatever warmup says, then half a cosine down to 0.
    Smith and Topin 2018, arXiv:1708.07120; without its cycle of the momentum.
    """
    if progress < peak:
        return 1 - 0.96 * half_cosine(progress / peak)
    return half_cosine((progress - peak) / (1 - peak))


def constant(progress: float, warmup: float, decay: float = 0.2) -> float:
    """Linear warm-up, the full rate, and in the last fifth a straight line down to 0. Hägele et al. 2024,
    arXiv:2405.18392.
    """
    if progress < warmup:
        return progress / warmup
    return min(1.0, (1 - progress) / decay)


def half_cosine(share: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


# add yours: a function above, a word here
SCHEDULES = {"cosine": cosine, "one_cycle": one_cycle, "constant": constant}
