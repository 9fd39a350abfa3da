"""Metrics as hosts publish them: (solution, submission) -> float. Both frames are indexed by row and hold the
answer's columns.

One column of labels, one of the positive class's probability, or a column per class: accuracy, F1 and their
like take all three. is_single, where a metric has it: is one class of the columns right? The task tells;
None, for frames of which nothing else is known: where all rows sum to one. The name in METRICS is all that
early stopping, curves, decoding, blending and the ledger know of it.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import pandas as pd

Frame: TypeAlias = pd.DataFrame
F_SCORES = [(average, beta) for average in ("macro", "micro", "samples") for beta in (1, 2)]
READS_ORDER = {"roc_auc", "partial_auc", "average_precision", "spearman"}  # of each column, nothing else
# these cannot read labels
PROBABILITY_METRICS = READS_ORDER | {"log_loss", "probabilistic_f1", "top3", "top5"}
# these read labels: a number that is not rounded to one is no answer
LABEL_METRICS = {f"{average}_f{beta}" for average, beta in F_SCORES}
LABEL_METRICS |= {"accuracy", "balanced_accuracy", "mcc", "quadratic_weighted_kappa"}
LOWER_IS_BETTER = {"log_loss", "rmse", "mae"}


def paired(solution: Frame, submission: Frame) -> tuple[Frame, Frame]:
    """The submission's lines and columns in the solution's order: joined by row, never by position."""
    if not submission.index.equals(solution.index):
        submission = submission.loc[solution.index]
    return solution, submission[list(solution.columns)]


def numbers(solution: Frame, submission: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays (N, columns). Raises ValueError for labels."""
    try:
        truth, guess = (frame.to_numpy(dtype=float) for frame in paired(solution, submission))
    except ValueError as error:
        raise ValueError(
            f"this metric reads numbers, the answer holds labels ({error}): state another metric or answer"
        ) from None
    return truth, guess


def is_multiclass(is_single: bool | None, truth: np.ndarray, *guess: np.ndarray) -> bool:
    """Is the largest column the label? Otherwise each is a yes or no of its own. Where rows are pooled by
    max, guesses need not sum to one.
    """
    if is_single is None:
        arrays = (truth, *guess)
        return all(array.shape[1] > 1 and np.allclose(array.sum(axis=1), 1, atol=1e-3) for array in arrays)
    # a class may have no column
    return is_single and truth.shape[1] > 1 and bool((truth.sum(axis=1) > 0).all())


def decisions(
    solution: Frame, submission: Frame, is_single: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,), or zeros and ones (N, columns) where a row may have several."""
    if solution.shape[1] > 1:
        truth, guess = numbers(solution, submission)
        if is_multiclass(is_single, truth, guess):
            return truth.argmax(axis=1), guess.argmax(axis=1)
        return (truth >= 0.5).astype(int), (guess >= 0.5).astype(int)
    true, guessed = (frame.iloc[:, 0] for frame in paired(solution, submission))
    if not all(pd.api.types.is_numeric_dtype(column) for column in (true, guessed)):
        return true.astype(str).to_numpy(), guessed.astype(str).to_numpy()
    is_probability = true.isin([0, 1]).all() and guessed.between(0, 1).all()
    truth, guess = true.to_numpy(), guessed.to_numpy()
    return (truth >= 0.5, guess >= 0.5) if is_probability else (truth, guess)


def accuracy(solution: Frame, submission: Frame, is_single: bool | None = None) -> float:
    """Share of rows that are right; with several labels a row is right when all are."""
    truth, guess = decisions(solution, submission, is_single)
    return float((truth == guess).reshape(len(truth), -1).all(axis=1).mean())


def balanced_accuracy(solution: Frame, submission: Frame, is_single: bool | None = None) -> float:
    """Mean recall of the classes that occur in the truth."""
    from sklearn.metrics import recall_score

    truth, guess = decisions(solution, submission, is_single)
    present = np.unique(truth) if truth.ndim == 1 else np.flatnonzero(truth.any(axis=0))
    if not len(present):
        return float("nan")
    return float(recall_score(truth, guess, labels=present, average="macro", zero_division=0))


def f_beta(
    solution: Frame, submission: Frame, average: str, beta: float, is_single: bool | None = None
) -> float:
    """(1 + b^2) TP / (TP + FP + b^2 (TP + FN)): the mean over classes (macro), of all cells at once (micro),
    or the mean over rows' sets of labels (samples). Without positives in truth and guess it is 0, of a row 1.

    scikit-learn's values, without its checks: a decoder asks thousands of times.
    """
    if average == "samples" and not pd.api.types.is_numeric_dtype(solution.iloc[:, 0]):
        solution, submission = split_words(solution, submission)
    truth, guess = decisions(solution, submission, is_single)
    if truth.ndim == 1 and average == "samples":
        return float((truth == guess).mean())
    if truth.ndim == 1:
        codes, classes = pd.factorize(np.concatenate([truth, guess]), sort=True)
        truth, guess = np.split(codes, 2)
        labels = (truth[truth == guess], truth, guess)
        counts = [np.bincount(one, minlength=len(classes)) for one in labels]
    else:
        axis = 1 if average == "samples" else 0
        counts = [cells.sum(axis=axis) for cells in (truth * guess, truth, guess)]
    if average == "micro":
        counts = [count.sum() for count in counts]
    hits, true, guessed = counts
    size = beta**2 * true + guessed
    scores = (1 + beta**2) * hits / np.where(size > 0, size, 1)
    return float(np.mean(np.where(size > 0, scores, average == "samples")))


def split_words(solution: Frame, submission: Frame) -> tuple[Frame, Frame]:
    """Labels joined by spaces become a column of zeros and ones per word."""
    pair = [frame.iloc[:, 0] for frame in paired(solution, submission)]
    # few cells differ, and taking them apart is slow
    codes, cells = pd.factorize(np.concatenate(pair))
    words = pd.Series(cells, dtype=str).str.get_dummies(" ").sort_index(axis=1)
    truth, guess = (words.iloc[part].set_axis(solution.index) for part in np.split(codes, 2))
    return truth, guess


def log_loss(solution: Frame, submission: Frame, is_single: bool | None = None) -> float:
    """Mean of -log p(truth); rows are made to sum to one, as most hosts do. Several labels: the mean over all
    cells.
    """
    truth, guess = numbers(solution, submission)
    if is_multiclass(is_single, truth):
        guess = np.clip(guess, 1e-15, None)
        return float(-(truth * np.log(guess / guess.sum(axis=1, keepdims=True))).sum(axis=1).mean())
    guess = np.clip(guess, 1e-15, 1 - 1e-15)
    return float(-(truth * np.log(guess) + (1 - truth) * np.log(1 - guess)).mean())


def by_column(
    metric: Callable[[np.ndarray, np.ndarray], float],
    solution: Frame,
    submission: Frame,
    *,
    needs_negatives: bool = True,
) -> float:
    """The mean over columns of metric(truth (N,), guess (N,)); columns of one value, or without a positive,
    have none.
    """
    values = []
    for truth, guess in zip(*(array.T for array in numbers(solution, submission))):
        if len(np.unique(truth)) > 1 if needs_negatives else truth.any():
            values.append(metric(truth, guess))
    return float(np.mean(values)) if values else float("nan")


def roc_auc(solution: Frame, submission: Frame) -> float:
    """Area under the ROC curve, the mean over columns."""
    from sklearn.metrics import roc_auc_score

    return by_column(roc_auc_score, solution, submission)


def partial_auc(solution: Frame, submission: Frame, min_tpr: float = 0.8) -> float:
    """The area between the ROC curve and the line of 80 % found, 0..0.2, as ISIC 2024 has it: with the
    classes exchanged it lies left of 20 % FPR.
    """
    from sklearn.metrics import roc_auc_score

    most = 1 - min_tpr

    def area(truth: np.ndarray, guess: np.ndarray) -> float:
        # McClish's: a half by chance, 1 at best
        scaled = roc_auc_score(1 - truth, -guess, max_fpr=most)
        return most**2 / 2 + (2 * scaled - 1) * (most - most**2 / 2)

    return by_column(area, solution, submission)


def average_precision(solution: Frame, submission: Frame) -> float:
    """Precision at each true row, by descending probability; the mean over columns."""
    from sklearn.metrics import average_precision_score

    return by_column(average_precision_score, solution, submission, needs_negatives=False)


def probabilistic_f1(solution: Frame, submission: Frame) -> float:
    """F1 whose counts are sums of probabilities, as RSNA 2022 has it; the mean over columns."""

    def f1(truth: np.ndarray, guess: np.ndarray) -> float:
        guess = guess.clip(0, 1)
        return 2 * (truth * guess).sum() / (truth.sum() + guess.sum())

    return by_column(f1, solution, submission, needs_negatives=False)


def spearman(solution: Frame, submission: Frame) -> float:
    """Correlation of the ranks, the mean over columns; a guess that is the same for all rows has none: 0."""
    from scipy.stats import rankdata

    def correlation(truth: np.ndarray, guess: np.ndarray) -> float:
        return float(np.corrcoef(rankdata(truth), rankdata(guess))[0, 1]) if np.ptp(guess) > 0 else 0.0

    return by_column(correlation, solution, submission)


def top(solution: Frame, submission: Frame, k: int) -> float:
    """Share of rows whose class is among the k likeliest; of equals the earlier column, so that a constant
    answer gains nothing.
    """
    truth, guess = numbers(solution, submission)
    first = np.argsort(-guess, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(truth, first, axis=1).any(axis=1).mean())


def mean_average_precision(solution: Frame, submission: Frame, k: int) -> float:
    """MAP@k of words, best first: with one true word a row counts 1 / its place, else the precision at each
    place that is right, over the places.
    """

    def of_row(true: set[str], words: list[str]) -> float:
        right = np.array([word in true and word not in words[:place] for place, word in enumerate(words)])
        if not right.any():
            return 0.0
        return (right * right.cumsum() / np.arange(1, len(words) + 1)).sum() / min(len(true), k)

    truth, guess = (frame.iloc[:, 0].astype(str).str.split() for frame in paired(solution, submission))
    return float(np.mean([of_row(set(true), words[:k]) for true, words in zip(truth, guess)]))


def single(
    solution: Frame, submission: Frame, name: str, is_single: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,). Raises ValueError where a row may have several."""
    truth, guess = decisions(solution, submission, is_single)
    if truth.ndim > 1:
        raise ValueError(f"{name} reads one label per row")
    return truth, guess


def mcc(solution: Frame, submission: Frame, is_single: bool | None = None) -> float:
    """Matthews' correlation coefficient."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(*single(solution, submission, "mcc", is_single)))


def quadratic_weighted_kappa(solution: Frame, submission: Frame, is_single: bool | None = None) -> float:
    """1 - mean squared difference of the pairs / that of all possible pairs: the usual definition without its
    matrices.
    """
    name = "quadratic_weighted_kappa"
    try:
        truth, guess = (labels.astype(float) for labels in single(solution, submission, name, is_single))
    except ValueError as error:
        raise ValueError(f"{name} reads grades that are numbers ({error}): state another metric") from None
    by_chance = truth.var() + guess.var() + (truth.mean() - guess.mean()) ** 2
    return float(1 - ((truth - guess) ** 2).mean() / by_chance) if by_chance > 0 else 1.0


def rmse(solution: Frame, submission: Frame) -> float:
    """Root of the mean squared error, the mean over columns."""
    truth, guess = numbers(solution, submission)
    return float(np.sqrt(((truth - guess) ** 2).mean(axis=0)).mean())


def mae(solution: Frame, submission: Frame) -> float:
    truth, guess = numbers(solution, submission)
    return float(np.abs(truth - guess).mean())


# add yours: a function above, a word here (and in the sets at the top)
METRICS: dict[str, Callable[..., float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "log_loss": log_loss,
    "roc_auc": roc_auc,
    "partial_auc": partial_auc,
    "average_precision": average_precision,
    "probabilistic_f1": probabilistic_f1,
    "mcc": mcc,
    "rmse": rmse,
    "mae": mae,
    "spearman": spearman,
    "quadratic_weighted_kappa": quadratic_weighted_kappa,
    **{f"{average}_f{beta}": partial(f_beta, average=average, beta=beta) for average, beta in F_SCORES},
    **{f"top{k}": partial(top, k=k) for k in (3, 5)},
    **{f"map{k}": partial(mean_average_precision, k=k) for k in (3, 5, 10, 20)},
}
