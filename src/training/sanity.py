"""Is a fold better than an answer that looks at no image, and does its loss fall? Where not, after two
epochs, more epochs will not mend it.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

STOP_AFTER = 2  # epochs; a warning before
# how often the predictions are dealt out at random: most folds clear the first; eight may all miss a rare
# class
DEALS = (20, 200)
# times the loss at the start: far above noise labels, heavy mixing and a batch norm that has seen few batches
DIVERGED = 3.0
MOST_IMAGES = 10_000  # of which the spread is measured; that of more images follows from theirs
CAUSES = (
    "the usual causes, in this order: labels that belong to other images (look at doctor/augment.png), a rate"
    " far too high or too low (doctor/rate.png), too much frozen for pictures so unlike the pretrained ones"
    " (trainable), a loss that is given probabilities in place of logits, probabilities bent by class_weights"
    " or sampler=balanced where the metric reads them: `make doctor` looks for the first four"
)


def constant_answer(target: np.ndarray) -> np.ndarray:
    """The best answer that looks at no image, (T,): the mean of the training part's targets (N, T)."""
    return target.mean(axis=0)


def spread_by_chance(
    score_of: Callable[[pd.DataFrame], float], frame: pd.DataFrame, groups: np.ndarray, times: int = DEALS[-1]
) -> float:
    """How much the score of these predictions varies when they are dealt out at random to the images; NaN
    where it hardly ever has a score.

    groups: a number per line of the frame. Images of one group stay together, since their labels and their
    predictions are alike: twenty patients with fifty images each are twenty draws and not a thousand.
    """
    rng = np.random.default_rng(0)
    numbers, first = np.unique(groups, return_index=True)
    part = np.arange(len(frame))
    if len(frame) > MOST_IMAGES:
        chosen = rng.permutation(numbers)[: max(MOST_IMAGES * len(numbers) // len(frame), 2)]
        part = np.flatnonzero(np.isin(groups, chosen))
    ordered = part[np.argsort(groups[part], kind="stable")]  # group by group
    blocks = np.split(ordered, np.flatnonzero(np.diff(groups[ordered])) + 1)
    images, values = frame.index[ordered], frame.to_numpy()
    scores = []
    for _ in range(times):
        dealt = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
        scores.append(score_of(pd.DataFrame(values[dealt], index=images, columns=frame.columns)))
    finite = np.array(scores)[np.isfinite(scores)]
    if len(finite) < times / 2:
        return float("nan")
    return float(finite.std() * np.sqrt(len(part) / len(frame)))


def is_below(
    score: float, constant_score: float, n: int, *, spread: float = 0.0, lower_is_better: bool = False
) -> bool:
    """Is a score worse than a constant answer's by more than three standard errors, the larger of `spread`
    and a share's (of other scores, a mean's)?

    n: held-out images. One image more or less is never an error: a bar of 0 or 1 has no spread of its own.
    """
    is_share = 0 <= constant_score <= 1 and not lower_is_better
    error = (
        np.sqrt(max(constant_score * (1 - constant_score), 1 / n) / n)
        if is_share
        else abs(constant_score) / np.sqrt(n)
    )
    lack = score - constant_score if lower_is_better else constant_score - score
    return bool(lack > 3 * max(error, spread))  # a NaN score is not judged here


def below_constant(
    score_of: Callable[[pd.DataFrame], float],
    frame: pd.DataFrame,
    groups: np.ndarray,
    score: float,
    constant_score: float,
    epoch: int,
    *,
    lower_is_better: bool = False,
) -> str:
    """What to say of a fold that, after `epoch` (1, 2, ...), is worse than a constant answer by more than
    chance; "" when it is not.

    Most folds clear the plain error, and no score is computed for them. Where the score can't vary (a fold of
    one class, predictions that are all alike) or has no value, it tells nothing and the fold goes on.
    """
    if not is_below(score, constant_score, len(frame), lower_is_better=lower_is_better):
        return ""
    for times in DEALS:
        spread = spread_by_chance(score_of, frame, groups, times)
        is_degenerate = not spread > 1e-9
        if is_degenerate or not is_below(
            score, constant_score, len(frame), spread=spread, lower_is_better=lower_is_better
        ):
            return ""
    return (
        f"{score:.4f} after epoch {epoch} is worse than an answer that looks at no image"
        f" ({constant_score:.4f}, {len(frame)} images); {CAUSES}"
    )


def dead(loss: float, valid_loss: float, reference: float, logits: np.ndarray, epoch: int) -> str:
    """What to say of a training that has diverged, or whose model no longer looks at the images; "" of any
    other.

    loss, valid_loss: of this epoch, NaN where nothing is held out. reference: the larger of a constant
    answer's loss and that of the first step. Both losses must be far above it: the training loss alone may
    begin low (a warm start), the held-out one rise by overfitting. A loss that does not fall is no proof of
    anything: noise labels and slow starts look alike.
    """
    losses = [one for one in (loss, valid_loss) if not np.isnan(one)]
    if reference > 0 and min(losses) > DIVERGED * reference:
        held_out = "" if np.isnan(valid_loss) else f", the held-out loss {valid_loss:.4g}"
        return (
            f"the training has diverged: after epoch {epoch} its loss is {loss:.4g}{held_out}; at its start"
            f" it was at most {reference:.4g}"
        )
    if len(logits) > 1 and np.ptp(logits, axis=0).max() <= 1e-6 * np.abs(logits).max():
        return (
            f"the model is dead: after epoch {epoch} it gives the same output for all {len(logits)} held-out"
            f" images, with a loss of {valid_loss:.4g}"
        )
    return ""
