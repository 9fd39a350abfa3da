"""Early stopping of one fold."""

from typing import Any

import numpy as np
from torch import Tensor


class EarlyStopping:
    """The weights of the best epoch, and how many epochs ago it was. Each fold has its own, so that no fold
    is stopped by the score of another. patience=0: never stops and keeps no weights.
    """

    def __init__(self, patience: int, *, lower_is_better: bool) -> None:
        self.patience, self.sign = patience, -1 if lower_is_better else 1
        self.best_score, self.best_epoch, self.epoch = -np.inf, -1, -1
        self.best_weights: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        return self.patience > 0 and self.epoch - self.best_epoch >= self.patience

    def update(self, score: float, weights: dict[str, Tensor]) -> None:
        """After an epoch: its score (NaN is never the best) and what the model had learned when
        it was made.
        """
        self.epoch += 1
        if self.patience and self.sign * score > self.best_score:
            self.best_score, self.best_epoch = self.sign * score, self.epoch
            self.best_weights = {name: value.clone() for name, value in weights.items()}

    def restore(self, weights: dict[str, Tensor]) -> int:
        """Put the best epoch's weights back in place; returns its number from 0, or -1, the last one, where
        there is no best epoch.
        """
        if self.patience and not self.best_weights:
            print("no epoch had a score (all NaN): the weights of the last one are kept", flush=True)
        for name, value in self.best_weights.items():
            weights[name].copy_(value)
        return self.best_epoch if self.best_weights else -1

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
