"""How far a training is: a bar on a terminal, else a line per epoch, or per fold where epochs are short."""

import os
import sys
from time import perf_counter
from types import TracebackType
from typing import Self

from tqdm import tqdm

from src.run.paths import fold_name

SHORT = 1.0  # seconds: shorter epochs get no line of their own
SILENCE = 30.0  # seconds without a line, after which a short epoch gets one all the same


class Progress:
    """The progress of one fold. folds_after: how many are still to be trained after it; None: not known,
    because other processes train some of them.

    with Progress(...) as progress:
        progress.begin(epoch, step)
        progress.advance(num_images)   # after each batch
        progress.end_epoch(figures)    # after the validation
    """

    def __init__(self, fold: int, epochs: int, steps_per_epoch: int, folds_after: int | None = 0) -> None:
        self.fold, self.epochs, self.steps_per_epoch = fold, epochs, steps_per_epoch
        self.folds_after = folds_after
        self.images_per_second = 0.0  # of the last epoch's training, without its validation
        self.held_back = ""  # the line of a short epoch, printed if it is the last
        self.figures = ""
        # train --gpus sets TQDM_DISABLE, since there is one bar per terminal
        self.bar = tqdm(
            total=epochs * steps_per_epoch,
            desc=fold_name(fold),
            disable=not sys.stderr.isatty() or bool(os.environ.get("TQDM_DISABLE")),
            bar_format="|{bar:20}| {desc}",
            leave=False,
            dynamic_ncols=True,
        )

    def begin(self, epoch: int, step: int) -> None:
        """Training goes on with this step of this epoch, counted from 0."""
        self.epoch, self.first_step = epoch, epoch * self.steps_per_epoch + step
        self.step = self.first_step
        self.began = self.last_line = perf_counter()
        self.begin_epoch()
        self.bar.update(self.first_step)

    def begin_epoch(self) -> None:
        self.epoch_began, self.images = perf_counter(), 0

    def advance(self, num_images: int) -> None:
        """A batch of so many images is done."""
        self.step += 1
        self.images += num_images
        self.images_per_second = self.images / max(perf_counter() - self.epoch_began, 1e-9)
        if not self.bar.disable:
            self.bar.set_description_str(self.text(self.epoch + 1), refresh=False)
            self.bar.update()

    def end_epoch(self, figures: dict[str, float]) -> None:
        """An epoch and its validation are done: figures of it by name, such as its loss and score."""
        self.epoch += 1
        self.step = self.epoch * self.steps_per_epoch
        self.figures = "".join(f"  {name} {value:.4f}" for name, value in figures.items())
        line, now = self.text(self.epoch), perf_counter()
        is_short = now - self.epoch_began < SHORT and now - self.last_line < SILENCE
        self.held_back = line if is_short else ""
        if not self.bar.disable:
            self.bar.set_description_str(line)
        elif not is_short:
            print(line, flush=True)
            self.last_line = now
        self.begin_epoch()

    def text(self, epoch: int) -> str:
        """The fold, the epoch, the last figures, the speed and the time left."""
        place = f"{fold_name(self.fold)}  epoch {epoch}/{self.epochs}{self.figures}"
        return f"{place}  {self.images_per_second:,.0f} images/s  {self.time_left()}"

    def time_left(self) -> str:
        """Of the fold and of the run, as if each step to come took as long as one has taken so far."""
        total = self.epochs * self.steps_per_epoch
        seconds = (perf_counter() - self.began) / max(self.step - self.first_step, 1)
        fold = seconds * (total - self.step)
        if self.folds_after is None:
            return f"left: fold {duration(fold)}"
        return f"left: fold {duration(fold)}, run {duration(fold + self.folds_after * seconds * total)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        if self.held_back and self.bar.disable:
            print(self.held_back, flush=True)


def duration(seconds: float) -> str:
    """ "45 s", "12 min" or "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
