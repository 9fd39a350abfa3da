"""A perceptual hash: what a picture looks like in 255 bits, the same for copies that were resized, compressed
anew or brightened.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.images import Reader, check_file, read_picture

SIDE = 64  # pixels of the small grey picture that the hash is made of
# the slow ones of the cosine transform
WAVES = np.cos(np.pi * np.outer(np.arange(16), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
BITS = 255  # of the hash
# Bits in which copies may differ where nothing else confirms them. Measured: of 50 photographs, copies at
# half the size, of JPEG quality 20, or mirrored differ in 2 to 8; the nearest strangers among 3,781
# photographs in 40, among 5,000 digits (the 1s!) in 20.
ALONE = 8
FLAT = 2  # grey values: a picture with less spread resembles everything


def looks(grey: np.ndarray) -> str:
    """The hash of a (SIDE, SIDE) picture as hex: which of the slow waves are above the median. A copy differs
    in a few bits, another picture of the same scene in 50, a stranger in 127.
    """
    waves = (WAVES @ grey @ WAVES.T).flatten()[1:]  # without the mean
    return np.packbits(waves > np.median(waves)).tobytes().hex()


def signs(codes: Iterable[str]) -> np.ndarray:
    """The bits of hashes as (N, BITS) of -1 and 1: the product of two rows tells how many differ."""
    raw = np.array([list(bytes.fromhex(code)) for code in codes], dtype=np.uint8).reshape(-1, 32)
    return np.unpackbits(raw, axis=1)[:, :BITS].astype(np.float32) * 2 - 1


def differing(some_of: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, N) of the numbers of bits in which the signs differ."""
    return (BITS - some_of @ others.T) / 2


def grey_of(record: dict[str, str], reader: Reader | None, max_pixels: int) -> np.ndarray | None:
    """The small grey picture of a record (a row of the table, and `file`); None where the image can't be read
    or shows nothing.
    """
    try:
        if reader is None:
            picture = read_picture(Path(record["file"]), SIDE, max_pixels)
        else:
            check_file(record["file"])
            picture = Image.fromarray(np.asarray(reader(record)).squeeze())
        grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float)
    except Exception:  # Pillow raises many kinds; the training says which image and why
        return None
    return grey if grey.std() > FLAT else None


def copies(
    records: list[dict[str, str]],
    others: list[dict[str, str]],
    *,
    reader: Reader | None,
    max_pixels: int,
    workers: int,
) -> list[tuple[int, int]]:
    """(place in records, place in others) of pictures that look the same, or mirrored."""

    def hashes(some: list[dict[str, str]]) -> list[np.ndarray | None]:
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            return list(pool.map(lambda record: grey_of(record, reader, max_pixels), some))

    own = [(place, grey) for place, grey in enumerate(hashes(records)) if grey is not None]
    theirs = [(place, looks(grey)) for place, grey in enumerate(hashes(others)) if grey is not None]
    if not own or not theirs:
        return []
    plain, mirrored = signs(looks(grey) for _, grey in own), signs(looks(grey[:, ::-1]) for _, grey in own)
    found = []
    for start in range(0, len(theirs), 4096):  # block by block: no matrix of all pairs at once
        block = theirs[start : start + 4096]
        bits = signs(code for _, code in block)
        alike = np.minimum(differing(plain, bits), differing(mirrored, bits)) <= ALONE
        found += [(own[i][0], block[j][0]) for i, j in zip(*np.nonzero(alike))]
    return sorted(found)
