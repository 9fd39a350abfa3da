"""How far a fold is, on the terminal."""

import os
import sys

from tqdm import tqdm

from src.run.paths import fold_name


def progress_bar(num_batches: int, fold: int) -> tqdm:
    """On a terminal; train --gpus sets TQDM_DISABLE, since there is one bar per terminal."""
    is_off = not sys.stderr.isatty() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(
        total=num_batches, desc=fold_name(fold), unit="step", disable=is_off, leave=False, dynamic_ncols=True
    )


def show_epoch(bar: tqdm, epoch: str, figures: dict[str, float]) -> None:
    """In the bar on a terminal, else a plain line."""
    text = "".join(f"  {name} {value:.4f}" for name, value in figures.items())
    if bar.disable:
        print(f"{epoch}{text}", flush=True)
    else:
        bar.set_postfix_str(f"{epoch.partition('  ')[2]}{text}")
