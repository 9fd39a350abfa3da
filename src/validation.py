"""The held-out part of a fold: predicted and scored after each epoch, and compared with a constant answer."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from src.competition import scoring
from src.competition.groups import join_groups
from src.competition.tasks import TASKS, logits_of
from src.data.batches import Batches
from src.data.run import Run
from src.data.training_table import FoldTable
from src.model.classifier import Classifier
from src.run import memory, predictions, ranks
from src.run.errors import CheckFailed
from src.run.paths import fold_name
from src.training.checkpoint import Checkpoint
from src.training.loop import Learner, NotFinite, predict
from src.training.sanity import STOP_AFTER, below_constant, constant_answer, dead


class Valid(NamedTuple):
    """What a model says of the held-out part; nothing of a refit's, which holds nothing out."""

    predictions: np.ndarray  # (m, T)
    logits: np.ndarray  # (m, T)
    loss: float  # as training has it, but without mixing and smoothing
    score: float  # NaN where nothing is held out
    figures: dict[str, float]  # both by name, for the log


class Validation:
    """The held-out part of a fold: predicted and scored after each epoch, and compared with an answer that
    looks at no image.
    """

    def __init__(self, run: Run, rows: FoldTable, model: Classifier, learner: Learner) -> None:
        self.run, self.rows, self.model, self.learner = run, rows, model, learner
        self.task, self.ids = TASKS[run.competition.task], rows.held_out_frame["id"]
        self.batch = memory.BatchSize(2 * run.config.batch_size, f"the validation of {fold_name(rows.fold)}")
        self.score_of: Callable[[pd.DataFrame], float] = scoring.score_of(
            run.competition, rows.held_out_frame
        )
        self.constant = constant_answer(rows.target[rows.training])  # (T,)
        self.constant_loss = self.loss_of_constant()

    def frame(self, values: np.ndarray) -> pd.DataFrame:
        """Predictions (m, T) as a frame by id."""
        return predictions.make(self.ids, values, self.run.competition.outputs)

    def after_epoch(self, batches: Batches) -> Valid:
        """Predict with the averaged weights, where there are some, and score."""
        held_out, learner = self.rows.held_out, self.learner
        if not len(held_out):
            nothing = np.empty((0, len(self.constant)), np.float32)
            return Valid(nothing, nothing, np.nan, np.nan, {})
        self.model.eval()
        with learner.ema.applied():
            positions, logits = self.predicted(batches, held_out)
        if (is_bad := ~np.isfinite(logits).all(axis=1)).any():
            problem = f"{is_bad.sum()} of {len(logits)} predictions of the validation are not finite"
            raise NotFinite(learner, problem, positions[is_bad].tolist())
        names, values = self.rows.frame["id"].iloc[positions], self.task.activation(logits, self.model.unit)
        frame = predictions.make(names, values, self.run.competition.outputs)
        predictions.check(frame, "valid", kind=self.task.kind, single_label=self.task.loss == "cross_entropy")
        frame = predictions.check_ids(frame, self.ids, "valid")
        loss, score = self.mean_loss(logits, positions), self.score_of(frame)
        figures = {"valid_loss": loss, self.run.competition.metric_name: score}
        return Valid(frame.to_numpy(copy=True), logits, loss, score, figures)

    def predicted(self, batches: Batches, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (m,) and logits (m, T), each image once. Of several processes each predicts a part, and
        all get the whole.
        """
        learner, share = self.learner, ranks.share(len(positions))
        own = positions[share.start : share.stop]
        part = self.batch.fit(
            lambda size: (
                predict(learner.forward, batches.evaluation(own, size), learner.accelerator)
                if len(own)
                else None
            )
        )
        places, logits = zip(*[part for part in ranks.gather(part) if part])
        return np.concatenate(places), np.concatenate(logits)

    def mean_loss(self, logits: np.ndarray, positions: np.ndarray) -> float:
        target, weight = self.rows.rows.target[positions], self.rows.rows.weight[positions]
        losses = self.learner.loss_fn(torch.from_numpy(logits), torch.from_numpy(target))
        return float((losses * torch.from_numpy(weight)).mean())

    def loss_of_constant(self) -> float:
        """The loss of the constant answer; of some thousand training images, which is enough."""
        training = self.rows.training
        part = training[:: -(-len(training) // 5000)]
        logits = logits_of(self.task, self.constant, self.rows.unit).astype(np.float32)
        return self.mean_loss(np.tile(logits, (len(part), 1)), part)

    def check(self, valid: Valid, checkpoint: Checkpoint) -> None:
        """Warn of a fold that has diverged, or that is worse than the constant answer. Raises CheckFailed
        where that is still so after STOP_AFTER epochs.
        """
        epoch, config = checkpoint.epoch + 1, self.run.config
        if not self.run.machine.sanity:
            return
        reference = max(self.constant_loss, checkpoint.first_loss)
        if verdict := dead(checkpoint.mean_loss, valid.loss, reference, valid.logits, epoch):
            advice = f"lower lr and body_lr by ten (now {config.lr:g} and {config.body_lr:g})"
            if not config.clip_grad:
                advice += ", or set clip_grad=1"
            self.warn_or_stop(epoch, f"{verdict}: {advice}")
        if len(self.ids) and epoch <= STOP_AFTER and (verdict := self.below_constant(valid, epoch)):
            self.warn_or_stop(epoch, f"{self.run.competition.metric_name} {verdict}")

    def below_constant(self, valid: Valid, epoch: int) -> str:
        constant = self.frame(np.tile(self.constant, (len(self.ids), 1)))
        return below_constant(
            self.score_of,
            self.frame(valid.predictions),
            join_groups(self.rows.held_out_frame.reset_index(drop=True)),
            valid.score,
            self.score_of(constant),
            epoch,
            lower_is_better=self.run.competition.lower_is_better,
        )

    def warn_or_stop(self, epoch: int, problem: str) -> None:
        if epoch >= STOP_AFTER:
            raise CheckFailed(
                f'{fold_name(self.rows.fold)}: {problem}. MACHINE="sanity=false" trains on all the same'
            )
        print(f"warning: {fold_name(self.rows.fold)}: {problem}", file=sys.stderr)
