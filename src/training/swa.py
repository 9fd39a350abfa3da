"""Stochastic weight averaging."""

from torch import Tensor

from src.config import Config
from src.training.ema import Ema


class Swa(Ema):
    """The plain mean of all that learns at the ends of the last epochs, from `first` (0, 1, ...) on; before,
    the weights themselves. Izmailov et al. 2018, arXiv:1803.05407; Wortsman et al. 2022, arXiv:2203.05482,
    call it a uniform soup. BatchNorm's statistics are averaged too; the paper goes over the images once more.
    """

    def __init__(self, learned: dict[str, Tensor], first: int) -> None:
        super().__init__(learned, decay=1.0)
        self.first = first

    def update(self, epoch: int, *, ends_epoch: bool) -> None:
        """After a step of the optimizer."""
        if ends_epoch and epoch >= self.first:
            self.updates += 1
            self.move(1 / self.updates)

    def swap(self) -> None:
        if self.updates:
            super().swap()


def make_average(learned: dict[str, Tensor], config: Config) -> Ema:
    """The average that the settings ask for; one that does nothing where they ask for none."""
    return Swa(learned, config.epochs - config.swa) if config.swa else Ema(learned, config.ema)
