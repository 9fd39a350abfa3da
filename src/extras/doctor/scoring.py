"""Checks of what is validated and how it is scored: the loader, the metric, the score to beat, mixed labels,
early stopping.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from src.competition import scoring
from src.data.batches import SAMPLERS, Batches, Rows
from src.extras.doctor.case import Case, Check
from src.extras.findings import Finding, fail, good
from src.run import predictions
from src.run.seeds import seed_of
from src.train_fold import Best, predict_epoch
from src.training import loop
from src.training.sanity import constant_answer


def validation_loader(case: Case) -> Finding:
    """By the core's loader and prediction: every held-out id once, and none of them among what the fold
    learns from.
    """
    job, config, where = case.job, case.config, "Batches in src/data/batches.py"
    size = len(job.table)
    pixels: Any = SimpleNamespace(values=np.broadcast_to(np.zeros((), np.uint8), (size, 1, 1, 3)))
    rows = Rows(job.target, np.ones(size, np.float32), np.zeros((size, 0), np.float32))
    sampled = job.table.assign(label=case.labels)

    def blank(image: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(image), len(job.competition.outputs))

    numbers = sorted(k for k in job.table["fold"].unique() if k >= 0)
    for k in numbers:
        training, held_out = np.flatnonzero(job.table["fold"] != k), np.flatnonzero(job.table["fold"] == k)
        batches = Batches([pixels], rows, device=job.accelerator.device, seed=config.seed, fold=k)
        try:
            predict_epoch(job, case.model, blank, batches, held_out, None)
        except ValueError as error:
            return fail(
                f"fold {k}: {error}",
                f"no drop_last, no drawing with replacement, no list shared between folds: {where}",
            )
        rng = np.random.default_rng(seed_of(config.seed, k, 0, "order"))
        order = training[SAMPLERS[config.sampler](sampled.iloc[training].reset_index(drop=True), 0, rng)]
        learned = {i for batch in batches(order, config.batch_size, 0) for i in batch.index.tolist()}
        strange = learned - set(training)
        if strange or len(learned) < len(set(order)):
            return fail(
                f"fold {k}: of {len(set(order))} images asked for {len(learned)} are learned from,"
                f" {len(strange)} of them held out",
                f"a batch holds what it is asked for: {where}; or the sampler {config.sampler!r}",
            )
    return good(
        f"{len(numbers)} folds: each held-out id is predicted once and never learned from; a first epoch sees"
        f" {len(learned)} images"
    )


def guesses(case: Case, part: pd.DataFrame) -> pd.DataFrame:
    """Random predictions for these images."""
    rng, shape = np.random.default_rng(0), (len(part), len(case.job.competition.outputs))
    values = rng.random(shape)
    if case.is_single:
        values /= values.sum(axis=1, keepdims=True)
    if case.has_values:
        values = rng.permutation(case.job.target)[: len(part)] + values
    return predictions.make(part["id"], values, case.job.competition.outputs)


def metric(case: Case) -> Finding:
    """Equal to scikit-learn's over all images, the same in any order, and better for the truth than for a
    guess.
    """
    competition = case.job.competition
    rows = case.job.table["row"].drop_duplicates().sample(frac=1, random_state=0).head(5000)
    part = case.job.table[case.job.table["row"].isin(rows)]
    frame, target = guesses(case, part), case.job.target[part.index]
    guess = scoring.score(competition, part, frame)
    truth = scoring.score(competition, part, predictions.make(part["id"], target, competition.outputs))
    mixed = scoring.score(
        competition, part.sample(frac=1, random_state=1), frame.sample(frac=1, random_state=2)
    )
    if not (truth < guess if competition.lower_is_better else truth > guess):
        return fail(
            f"{competition.metric_name} gives {truth:.4f} to the truth and {guess:.4f} to a random guess, and"
            f" {'lower' if competition.lower_is_better else 'higher'} counts as better",
            f"state lower_is_better={not competition.lower_is_better} in src/competitions.py, or look at the"
            " metric's arguments",
        )
    if not np.isclose(guess, mixed, rtol=1e-4):
        return fail(
            f"{competition.metric_name} is {guess:.4f}, with the same rows in another order {mixed:.4f}",
            "let the metric join by row and take all rows: src/competition/metrics.py, or the one pasted in"
            " src/competitions.py",
        )
    expected = reference(case, part, frame.to_numpy(dtype=float), target)
    if expected is not None and not np.isclose(guess, expected, rtol=1e-3, atol=1e-5):
        return fail(
            f"{competition.metric_name} of {len(part)} random guesses is {guess:.4f}, scikit-learn's is"
            f" {expected:.4f}",
            f"{competition.metric_name} in src/competition/metrics.py must take the whole fold, and be what its name"
            " says",
        )
    equal = ", equal to scikit-learn's" if expected is not None else ""
    return good(f"{competition.metric_name}: truth {truth:.4f}, random guess {guess:.4f}{equal}")


def reference(case: Case, part: pd.DataFrame, values: np.ndarray, target: np.ndarray) -> float | None:
    """scikit-learn's score of the same predictions, None where the answer's form leaves no simple one."""
    from sklearn import metrics

    competition, name = case.job.competition, case.job.competition.metric
    if (
        competition.scored
        or (part["row"] != part["id"]).any()
        or competition.answer not in ("label", "probability", "probabilities", "value")
    ):
        return None
    if case.has_values:
        errors = {"rmse": metrics.root_mean_squared_error, "mae": metrics.mean_absolute_error}
        return float(errors[name](target, values)) if name in errors else None
    if not case.is_single:
        return None
    truth, guess, numbers = target.argmax(axis=1), values.argmax(axis=1), range(target.shape[1])
    functions = {
        "accuracy": lambda: metrics.accuracy_score(truth, guess),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(truth, guess),
        "macro_f1": lambda: metrics.f1_score(truth, guess, average="macro", zero_division=0),
        "micro_f1": lambda: metrics.f1_score(truth, guess, average="micro"),
        "log_loss": lambda: metrics.log_loss(truth, values, labels=list(numbers)),
        "roc_auc": lambda: np.mean(
            [
                metrics.roc_auc_score(target[:, k], values[:, k])
                for k in numbers
                if 0 < target[:, k].mean() < 1
            ]
        ),
    }
    return float(functions[name]()) if name in functions else None


def constant(case: Case) -> Finding:
    """The score of an answer that looks at no image: what a fold must beat."""
    job, answers = case.job, []
    for k in sorted(k for k in job.table["fold"].unique() if k >= 0):
        held_out = job.table["fold"] == k
        mean = constant_answer(job.target[(~held_out).to_numpy()])
        answers.append(
            predictions.make(
                job.table["id"][held_out], np.tile(mean, (held_out.sum(), 1)), job.competition.outputs
            )
        )
    score = scoring.score(job.competition, job.table, predictions.join(answers))
    return good(
        f"an answer that looks at no image scores {job.competition.metric_name} {score:.4f}: a fold must beat"
        " it by its second epoch"
    )


def mixing(case: Case) -> Finding:
    """Mixup and cutmix: a label's share is the share of its picture. Each image is one number, so that the
    mean of the mixed tells it.
    """
    if not case.config.mixup and not case.config.cutmix:
        return good("mixup and cutmix are off")
    values = torch.arange(8.0) * 16
    image, target = values.view(8, 1, 1, 1).expand(8, 3, 32, 32).contiguous(), torch.eye(8)
    for attempt in range(8):
        torch.manual_seed(attempt)
        mixed, labels, _ = loop.mix(image, target, torch.ones(8), case.config)
        shown = mixed.mean(dim=(1, 2, 3))
        if not torch.allclose(labels.sum(dim=1), torch.ones(8), atol=1e-5) or not torch.allclose(
            labels @ values, shown, atol=0.1
        ):
            return fail(
                f"an image that is a mix has the label {[round(x, 2) for x in labels[0].tolist()]}, which is"
                " not the shares of its pictures",
                "mix the targets with the share of the images: mix in src/training/loop.py",
            )
    return good("a mixed image's label holds the shares of its pictures")


def stopping(case: Case) -> Finding:
    """Early stopping begins anew in each fold."""
    if not case.config.patience:
        return good("patience=0: every fold runs its full schedule")
    sign = -1 if case.job.competition.lower_is_better else 1
    weights: Any = SimpleNamespace(learned=lambda: {"weight": torch.zeros(1)})
    first, second = (Best(case.config.patience, case.job.competition.lower_is_better) for _ in range(2))
    ends = [first.should_stop(sign * score, weights) for score in (0.9, *[0.1] * case.config.patience)]
    if not ends[-1] or any(ends[:-1]) or second.should_stop(sign * 0.5, weights):
        return fail(
            (
                f"patience={case.config.patience}: after a fold that stopped, the next one stops at its first"
                " epoch"
                if ends[-1]
                else f"patience={case.config.patience} never stops"
            ),
            "keep the best score and its epoch inside the fold: Best in src/train_fold.py",
        )
    return good(f"patience={case.config.patience} counts anew in each fold; the score is then optimistic")


SCORING: dict[str, Check] = {
    "validation": validation_loader,
    "metric": metric,
    "constant": constant,
    "mixup": mixing,
    "stopping": stopping,
}
