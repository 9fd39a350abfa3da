"""How much the best of n trials flatters: it was chosen by the scores that it is praised for."""

from typing import NamedTuple

import numpy as np


class Flattery(NamedTuple):
    best: float  # mean of the best trial's folds
    honest: float  # what the same choice scores on folds that it has not seen

    @property
    def bias(self) -> float:
        return self.best - self.honest


def flattery(folds: np.ndarray, *, lower_is_better: bool) -> Flattery:
    """Choose the best trial by all folds but one, score it on that one, and take the mean over the folds.
    folds: a trial's scores (n, K).

    After Tsamardinos et al. 2018 (Machine Learning 107:1895), who choose on a bootstrap sample of the
    out-of-sample predictions and score on the rest; here the rest is a fold. Nothing is trained again.
    Slightly pessimistic, since it chooses by fewer images.
    """
    sign = -1.0 if lower_is_better else 1.0
    number = folds.shape[1]
    honest = []
    for k in range(number):
        others = np.delete(folds, k, axis=1).mean(axis=1)  # (n,)
        honest.append(folds[int((sign * others).argmax()), k])
    means = folds.mean(axis=1)
    return Flattery(float(means[int((sign * means).argmax())]), float(np.mean(honest)))
