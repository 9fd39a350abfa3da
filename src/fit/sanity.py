"""Is a fold better than an answer that looks at no image? Where it is not after two epochs, more epochs will not mend it."""
from collections.abc import Callable

import numpy as np
import pandas as pd

STOP_AFTER = 2          # epochs; a warning before
CAUSES = ("the usual causes, in this order: labels that belong to other images (look at doctor/augment.png), a rate far too high or too low "
          "(doctor/rate.png), too much frozen for pictures so unlike the pretrained ones (trainable), a loss that is given probabilities in place "
          "of logits, probabilities bent by class_weights or sampler=balanced where the metric reads them: `make doctor` looks for the first four")


def constant_answer(target: np.ndarray) -> np.ndarray:
    """The best answer that looks at no image, (T,): the mean of the training part's targets (N, T)."""
    return target.mean(axis=0)


def spread_by_chance(score_of: Callable[[pd.DataFrame], float], frame: pd.DataFrame, times: int = 8) -> float:
    """How much the score of these predictions varies when they are dealt out to the images at random."""
    rng = np.random.default_rng(0)
    return float(np.std([score_of(frame.set_axis(rng.permutation(frame.index))) for _ in range(times)]))


def below_constant(score: float, constant_score: float, n: int, epoch: int, *, spread: float = 0.0, lower_is_better: bool = False) -> str:
    """What to say of a fold that, after `epoch` (1, 2, ...), is worse than a constant answer by more than chance; "" when it is not.

    n: held-out images. Chance is three standard errors, the larger of spread_by_chance and a share's (of other scores, a mean's).
    """
    is_share = 0 <= constant_score <= 1 and not lower_is_better
    error = np.sqrt(constant_score * (1 - constant_score) / n) if is_share else abs(constant_score) / np.sqrt(n)
    lack = score - constant_score if lower_is_better else constant_score - score
    if not lack > 3 * max(error, spread):                              # a NaN score is not judged here
        return ""
    return f"{score:.4f} after epoch {epoch} is worse than an answer that looks at no image ({constant_score:.4f}, {n} images); {CAUSES}"
