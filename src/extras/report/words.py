"""What the curves of a training say, in words. Each rule reads the mean over folds after each epoch."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Curves(NamedTuple):
    """After each epoch, the mean over folds (E,); higher scores are better here, whatever the metric."""

    loss: np.ndarray
    valid_loss: np.ndarray
    score: np.ndarray
    spread: float  # of the folds' scores at the end
    first_loss: float  # of an answer that looks at no image, where it is known; else of the first epoch

    @property
    def last_quarter(self) -> int:
        """The epoch from which on a quarter is left."""
        return max(len(self.score) * 3 // 4, 1)


def cut_short(curves: Curves) -> str:
    """The score still rose at the end."""
    score, start = curves.score, curves.last_quarter
    if len(score) < 3:
        return f"Only {len(score)} epochs: too few to see a trend."
    rise = score[-1] - score[start - 1]
    whole = score[-1] - score[0]
    if rise > 0.1 * whole and rise > 0.25 * curves.spread and int(score.argmax()) >= len(score) - 2:
        return (
            f"Cut short: the last quarter of the epochs still brought {rise:+.4f}. More epochs should help,"
            " as in"
            f' SET="epochs={2 * len(score)}".'
        )
    return ""


def overfitting(curves: Curves) -> str:
    """The held-out loss rises while the training loss falls."""
    valid, best = curves.valid_loss, int(np.nanargmin(curves.valid_loss))
    rise = valid[-1] / max(valid[best], 1e-12) - 1
    if best < len(valid) - 1 and rise > 0.05 and curves.loss[-1] < curves.loss[best]:
        lost = float(curves.score.max() - curves.score[-1])
        text = (
            f"Overfitting: the held-out loss is lowest after epoch {best + 1} and {rise:.0%} higher at"
            " the end"
        )
        if lost > 0.25 * curves.spread:
            return (
                f"{text}, and the score falls by {lost:.4f}: stronger augmentation, fewer epochs or a lower"
                " rate."
            )
        return (
            f"{text}, while the score holds: the answers become too sure, not worse. It matters for log loss."
        )
    return ""


def underfitting(curves: Curves) -> str:
    """The training loss itself has hardly fallen."""
    fall = 1 - curves.loss[-1] / max(curves.first_loss, 1e-12)
    is_close = curves.valid_loss[-1] < 1.15 * curves.loss[-1]
    if len(curves.loss) >= 3 and fall < 0.4 and is_close:
        return (
            f"Underfitting: the training loss fell by {fall:.0%} only, and held-out images do no worse. Let"
            " more layers learn, raise lr, or train longer."
        )
    return ""


def too_high_a_rate(curves: Curves) -> str:
    """The loss rises at first, or is above where it began."""
    loss = curves.loss
    if len(loss) >= 2 and (loss[1] > 1.1 * loss[0] or loss[-1] > curves.first_loss):
        return (
            "The learning rate is too high: the training loss rose in the first epochs. Lower lr and body_lr"
            " by three."
        )
    return ""


def unstable(curves: Curves) -> str:
    """The score jumps from epoch to epoch by more than the folds differ."""
    score = curves.score[len(curves.score) // 2 :]
    if len(score) < 4:
        return ""
    jump = float(np.abs(np.diff(score)).max())
    if jump > max(2 * curves.spread, 0.02 * np.abs(score).max()):
        return (
            f"Unstable: the mean score jumps by up to {jump:.4f} between epochs. A lower lr, a larger"
            " batch_size or ema."
        )
    return ""


def diagnose(curves: Curves) -> list[str]:
    """What is wrong, in sentences; one sentence that says so where nothing is."""
    with np.errstate(invalid="ignore"):
        found = [text for rule in DIAGNOSES.values() if (text := rule(curves))]
    return found or ["No sign of underfitting, overfitting, a wrong rate or too few epochs."]


DIAGNOSES: dict[str, Callable[[Curves], str]] = {
    "cut short": cut_short,
    "overfitting": overfitting,
    "underfitting": underfitting,
    "too high a rate": too_high_a_rate,
    "unstable": unstable,
}
