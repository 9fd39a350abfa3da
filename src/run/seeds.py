"""Every draw of a run begins with a seed made here of its place in the run, so that a continued run needs no
saved state of a generator.
"""

from hashlib import blake2b

import numpy as np


def seed_of(*key: int | str) -> int:
    """A number in 0..2**56-1 that depends on the key alone, such as (seed, fold, epoch, step)."""
    # numpy 2 writes its own 0 as np.int64(0)
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)
    return int.from_bytes(blake2b(repr(plain).encode(), digest_size=7).digest(), "big")


def seeds_of(*key: int | str, positions: np.ndarray) -> np.ndarray:
    """The seed (n,) uint64 of each position: a function of the key and of that position alone."""
    return counted(np.uint64(seed_of(*key)), positions.astype(np.uint64))


def counted(seed: np.ndarray | np.uint64, count: np.ndarray | np.uint64) -> np.ndarray:
    """The number `count` of each seed's own sequence, as uint64: SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        bits = seed + (count + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))
