"""Every draw of a run begins with a seed made here of its place in the run, so that a continued run needs no
saved state of a generator.
"""

from hashlib import blake2b


def seed_of(*key: int | str) -> int:
    """A number in 0..2**56-1 that depends on the key alone, such as (seed, fold, epoch, step)."""
    # numpy 2 writes its own 0 as np.int64(0)
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)
    return int.from_bytes(blake2b(repr(plain).encode(), digest_size=7).digest(), "big")
