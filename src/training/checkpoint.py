"""All that the steps of a fold change: with the recipe, what a continued training needs to end with the same
bytes as one that was never stopped.
"""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from src.training import optimizer_state
from src.training.early_stopping import EarlyStopping
from src.training.ema import Ema
from src.training.loop import Step


class Checkpoint:
    """Where a fold's training is. learned: what the model learns, name -> tensor, changed in place by the
    optimizer. origin: what trains it (recipe, batch size, code, versions), kept with the state.
    """

    def __init__(
        self,
        learned: dict[str, Tensor],
        optimizer: Optimizer,
        scaler: Any,
        ema: Ema,
        early_stopping: EarlyStopping,
        origin: dict[str, Any],
    ) -> None:
        self.learned, self.optimizer, self.scaler = learned, optimizer, scaler
        self.ema, self.early_stopping, self.origin = ema, early_stopping, origin
        self.epoch = self.batch = 0  # the next one to be trained
        self.losses: list[float] = []  # of this epoch, one per batch
        self.sizes: list[int] = []  # images in these batches
        self.first_loss = 0.0
        self.predictions: list[np.ndarray] = []  # of the held-out images (n, T), one per epoch
        self.seconds_before, self.began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.began

    @property
    def place(self) -> str:
        """In words."""
        return f"{self.epoch} epochs and {self.batch} steps"

    @property
    def mean_loss(self) -> float:
        """Over the images of this epoch so far."""
        return float(np.average(self.losses, weights=self.sizes))

    def advance(self, step: Step) -> None:
        """After a batch."""
        if self.epoch == self.batch == 0:
            self.first_loss = step.loss
        self.losses.append(step.loss)
        self.sizes.append(step.num_images)
        self.batch = step.number + 1

    def end_epoch(self, predictions: np.ndarray, score: float) -> None:
        """After the last batch of an epoch, with what the model (its average, where there is one) says of the
        held-out images, and the score of that: NaN where nothing is held out.
        """
        self.epoch, self.batch = self.epoch + 1, 0
        self.losses, self.sizes = [], []
        self.predictions.append(predictions)
        with self.ema.applied():
            self.early_stopping.update(score, self.learned)

    def final_weights(self) -> int:
        """Give the model the weights that the fold ends with: of the best epoch, or the average, or the last
        ones. Returns the epoch's place in `predictions`.
        """
        epoch = self.early_stopping.restore(self.learned)
        if not self.early_stopping.best_weights:  # these are averages already
            self.ema.swap()
        return epoch

    def state_dict(self) -> dict[str, Any]:
        return self.origin | {
            "epoch": self.epoch,
            "batch": self.batch,
            "weights": self.learned,
            "optimizer": optimizer_state.state_dict(self.optimizer),
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "ema": self.ema.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "losses": self.losses,
            "sizes": self.sizes,
            "first_loss": self.first_loss,
            "seconds": self.seconds,
            "predictions": [torch.from_numpy(values) for values in self.predictions],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in self.learned.items():
            value.copy_(state["weights"][name])
        optimizer_state.load_state_dict(self.optimizer, state["optimizer"])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.ema.load_state_dict(state["ema"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.losses, self.sizes = state["losses"], state["sizes"]
        self.first_loss, self.seconds_before = state["first_loss"], state["seconds"]
        self.predictions = [values.numpy() for values in state["predictions"]]
        # as it began, batch size and code too
        self.origin = {key: state.get(key, value) for key, value in self.origin.items()}
