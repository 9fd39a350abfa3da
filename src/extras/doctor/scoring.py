"""Checks of what is validated and how it is scored: the loader, the metric, the score to beat, mixed labels,
early stopping.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from src.competition import scoring
from src.data.arrays import InMemory
from src.data.batches import SAMPLERS, Batches, Rows, in_steps
from src.extras.doctor.setup import Check, Setup
from src.extras.findings import Finding, fail, good
from src.run import predictions
from src.run.seeds import seed_of
from src.training import loop
from src.training.early_stopping import EarlyStopping
from src.training.sanity import constant_answer


def validation_loader(setup: Setup) -> Finding:
    """The core's loader predicts every held-out id once, and learns from none of them."""
    config, table, where = setup.config, setup.table, "Batches in src/data/batches.py"
    size, outputs = len(table), len(setup.competition.outputs)
    pixels: Any = InMemory(np.broadcast_to(np.zeros((), np.uint8), (size, 1, 1, 3)))
    rows = Rows(setup.training.target, np.ones(size, np.float32), np.zeros((size, 0), np.float32))
    labelled = table.assign(label=setup.labels)

    def blank(image: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(image), outputs)

    for k in setup.folds:
        training, held_out = np.flatnonzero(table["fold"] != k), np.flatnonzero(table["fold"] == k)
        batches = Batches([pixels], rows, device=setup.device, seed=config.seed, fold=k)
        try:
            batch_size = 2 * config.batch_size
            positions, logits = loop.predict(
                blank, batches.evaluation(held_out, batch_size), setup.accelerator
            )
            frame = predictions.make(table["id"].iloc[positions], logits, setup.competition.outputs)
            predictions.check_ids(frame, table["id"].iloc[held_out], "valid")
        except ValueError as error:
            return fail(
                f"fold {k}: {error}",
                f"no drop_last, no drawing with replacement, no list shared between folds: {where}",
            )
        rng = np.random.default_rng(seed_of(config.seed, k, 0, "order"))
        order = training[SAMPLERS[config.sampler](labelled.iloc[training].reset_index(drop=True), 0, rng)]
        steps = in_steps(order, config.batch_size, config.batch_size)
        learned = {i for batch in batches.train_epoch(steps, 0) for i in batch.index.tolist()}
        num_wrong, num_wanted = len(learned - set(training)), len(set(order))
        if num_wrong or len(learned) < num_wanted:
            return fail(
                f"fold {k} learns from {len(learned)} of {num_wanted} images, {num_wrong} of them held out",
                f"a batch must hold what it is asked for: {where}; or look at the sampler {config.sampler!r}",
            )
    return good(
        f"{len(setup.folds)} folds: each held-out id is predicted once and never learned from; a first epoch"
        f" sees {len(learned)} images"
    )


def random_predictions(setup: Setup, part: pd.DataFrame) -> pd.DataFrame:
    rng, outputs = np.random.default_rng(0), setup.competition.outputs
    values = rng.random((len(part), len(outputs)))
    if setup.is_single:
        values /= values.sum(axis=1, keepdims=True)
    if setup.has_values:
        values = rng.permutation(setup.training.target)[: len(part)] + values
    return predictions.make(part["id"], values, outputs)


def metric(setup: Setup) -> Finding:
    """Equal to scikit-learn's, the same in any order, and better for the truth than for a guess."""
    c, table, name = setup.competition, setup.table, setup.competition.metric_name
    rows = table["row"].drop_duplicates().sample(frac=1, random_state=0).head(5000)
    part = table[table["row"].isin(rows)]
    guesses, target = random_predictions(setup, part), setup.training.target[part.index]
    guess = scoring.score(c, part, guesses)
    truth = scoring.score(c, part, predictions.make(part["id"], target, c.outputs))
    shuffled = scoring.score(c, part.sample(frac=1, random_state=1), guesses.sample(frac=1, random_state=2))
    is_better = truth < guess if c.lower_is_better else truth > guess
    if not is_better:
        direction = "lower" if c.lower_is_better else "higher"
        return fail(
            f"the truth scores {name} {truth:.4f}, a random guess {guess:.4f}, and {direction} is better",
            f"state lower_is_better={not c.lower_is_better} in src/competitions.py, or swap its arguments",
        )
    if not np.isclose(guess, shuffled, rtol=1e-4):
        return fail(
            f"{name} is {guess:.4f}, with the same rows in another order {shuffled:.4f}",
            "let the metric join by row and take all rows: in src/competition/metrics.py or competitions.py",
        )
    expected = sklearn_score(setup, part, guesses.to_numpy(dtype=float), target)
    if expected is None:
        return good(f"{name}: truth {truth:.4f}, random guess {guess:.4f}")
    if not np.isclose(guess, expected, rtol=1e-3, atol=1e-5):
        return fail(
            f"{name} of {len(part)} random guesses is {guess:.4f}, scikit-learn's is {expected:.4f}",
            f"{name} in src/competition/metrics.py must take the whole fold, and be what its name says",
        )
    return good(f"{name}: truth {truth:.4f}, random guess {guess:.4f}, equal to scikit-learn's")


def sklearn_score(setup: Setup, part: pd.DataFrame, values: np.ndarray, target: np.ndarray) -> float | None:
    """scikit-learn's score of the same predictions, None where the answer's form leaves no simple one."""
    from sklearn import metrics

    c = setup.competition
    has_several = (part["row"] != part["id"]).any()  # images per row
    if c.scored or has_several or c.answer not in ("label", "probability", "probabilities", "value"):
        return None
    if setup.has_values:
        functions = {"rmse": metrics.root_mean_squared_error, "mae": metrics.mean_absolute_error}
        return float(functions[c.metric](target, values)) if c.metric in functions else None
    if not setup.is_single:
        return None
    truth, guess, columns = target.argmax(axis=1), values.argmax(axis=1), list(range(target.shape[1]))

    def roc_auc() -> float:
        mixed = [k for k in columns if 0 < target[:, k].mean() < 1]
        return float(np.mean([metrics.roc_auc_score(target[:, k], values[:, k]) for k in mixed]))

    scores = {
        "accuracy": lambda: metrics.accuracy_score(truth, guess),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(truth, guess),
        "macro_f1": lambda: metrics.f1_score(truth, guess, average="macro", zero_division=0),
        "micro_f1": lambda: metrics.f1_score(truth, guess, average="micro"),
        "log_loss": lambda: metrics.log_loss(truth, values, labels=columns),
        "roc_auc": roc_auc,
    }
    return float(scores[c.metric]()) if c.metric in scores else None


def constant(setup: Setup) -> Finding:
    """The score of an answer that looks at no image: what a fold must beat."""
    table, c, parts = setup.table, setup.competition, []
    for k in setup.folds:
        held_out = table["fold"] == k
        mean = constant_answer(setup.training.target[(~held_out).to_numpy()])
        parts.append(predictions.make(table["id"][held_out], np.tile(mean, (held_out.sum(), 1)), c.outputs))
    score = scoring.score(c, table, predictions.join(parts))
    return good(
        f"an answer that looks at no image scores {c.metric_name} {score:.4f}: a fold must beat it by its"
        " second epoch"
    )


def mixing(setup: Setup) -> Finding:
    """A mixed label's shares are those of the pictures, each of which is one number here."""
    if not setup.config.mixup and not setup.config.cutmix:
        return good("mixup and cutmix are off")
    values = torch.arange(8.0) * 16
    image, target = values.view(8, 1, 1, 1).expand(8, 3, 32, 32).contiguous(), torch.eye(8)
    for seed in range(8):
        torch.manual_seed(seed)
        mixed, labels, _ = loop.mix(image, target, torch.ones(8), setup.config)
        sums_to_one = torch.allclose(labels.sum(dim=1), torch.ones(8), atol=1e-5)
        if not sums_to_one or not torch.allclose(labels @ values, mixed.mean(dim=(1, 2, 3)), atol=0.1):
            label = [round(x, 2) for x in labels[0].tolist()]
            return fail(
                f"a mixed image has the label {label}, which is not the shares of its pictures",
                "mix the targets with the share of the images: mix in src/training/mix.py",
            )
    return good("a mixed image's label holds the shares of its pictures")


def stopping(setup: Setup) -> Finding:
    """Early stopping begins anew in each fold."""
    patience, lower_is_better = setup.config.patience, setup.competition.lower_is_better
    if not patience:
        return good("patience=0: every fold runs its full schedule")
    sign = -1 if lower_is_better else 1
    first, second = (EarlyStopping(patience, lower_is_better=lower_is_better) for _ in range(2))
    stops = []
    for score in (0.9, *[0.1] * patience):
        first.update(sign * score, {"weight": torch.zeros(1)})
        stops.append(first.is_over)
    second.update(sign * 0.5, {"weight": torch.zeros(1)})
    change = "keep the best score and its epoch inside the fold: src/training/early_stopping.py"
    if not stops[-1]:
        return fail(f"patience={patience} never stops", change)
    if any(stops[:-1]) or second.is_over:
        return fail(
            f"patience={patience}: after a fold that stopped, the next one stops at its first epoch", change
        )
    return good(f"patience={patience} counts anew in each fold; the score is then optimistic")


SCORING: dict[str, Check] = {
    "validation": validation_loader,
    "metric": metric,
    "constant": constant,
    "mixup": mixing,
    "stopping": stopping,
}
