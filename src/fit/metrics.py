"""Metrics as hosts publish them: (solution, submission) -> float. Both frames are indexed by row and hold the answer's columns.

One column of labels, one of the positive class's probability, or a column per class: accuracy and F1 take all three."""
import numpy as np
import pandas as pd

PROBABILITY_METRICS = {"log_loss", "roc_auc"}               # they cannot read labels
LOWER_IS_BETTER = {"log_loss", "rmse", "mae"}


def paired(solution: pd.DataFrame, submission: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The submission's lines and columns in the solution's order: joined by row, never by position."""
    return solution, submission.loc[solution.index, solution.columns]


def numbers(solution: pd.DataFrame, submission: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays (N, columns)."""
    try:
        truth, guess = (frame.astype(float).to_numpy() for frame in paired(solution, submission))
    except ValueError as error:
        raise ValueError(f"this metric reads numbers, the answer holds labels ({error}): state another metric or answer") from None
    return truth, guess


def is_multiclass(*frames: np.ndarray) -> bool:
    """Several columns whose rows sum to one: the largest is the label. Otherwise each column is a yes or no of its own."""
    return all(frame.shape[1] > 1 and np.allclose(frame.sum(axis=1), 1, atol=1e-3) for frame in frames)


def decisions(solution: pd.DataFrame, submission: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,), or zeros and ones (N, columns) where a row may have several."""
    solution, submission = paired(solution, submission)
    if solution.shape[1] == 1:
        truth, guess = solution.iloc[:, 0], submission.iloc[:, 0]
        if not all(pd.api.types.is_numeric_dtype(column) for column in (truth, guess)):
            return truth.astype(str).to_numpy(), guess.astype(str).to_numpy()
        is_probability = truth.isin([0, 1]).all() and guess.between(0, 1).all()
        return (truth.to_numpy() >= 0.5, guess.to_numpy() >= 0.5) if is_probability else (truth.to_numpy(), guess.to_numpy())
    truth, guess = numbers(solution, submission)
    if is_multiclass(truth, guess):
        return truth.argmax(axis=1), guess.argmax(axis=1)
    return (truth >= 0.5).astype(int), (guess >= 0.5).astype(int)


def accuracy(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """Share of rows that are right; with several labels a row is right when all are."""
    truth, guess = decisions(solution, submission)
    return float((truth == guess).reshape(len(truth), -1).all(axis=1).mean())


def balanced_accuracy(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """Mean over the classes of the share found."""
    from sklearn.metrics import recall_score
    truth, guess = decisions(solution, submission)
    present = None if truth.ndim > 1 else np.unique(truth)      # a class that is only guessed has no share to find
    return float(recall_score(truth, guess, labels=present, average="macro", zero_division=0))


def macro_f1(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    from sklearn.metrics import f1_score
    return float(f1_score(*decisions(solution, submission), average="macro", zero_division=0))


def micro_f1(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    from sklearn.metrics import f1_score
    return float(f1_score(*decisions(solution, submission), average="micro", zero_division=0))


def split_words(solution: pd.DataFrame, submission: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels joined by spaces become a column of zeros and ones per word."""
    truth, guess = (frame.iloc[:, 0].str.get_dummies(" ") for frame in paired(solution, submission))
    words = sorted({*truth.columns, *guess.columns})
    return truth.reindex(columns=words, fill_value=0), guess.reindex(columns=words, fill_value=0)


def samples_f1(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """F1 of each row's set of labels, averaged over rows; an empty answer to an empty truth counts as right."""
    if solution.shape[1] == 1:
        solution, submission = split_words(solution, submission)
    truth, guess = (array >= 0.5 for array in numbers(solution, submission))
    size = truth.sum(axis=1) + guess.sum(axis=1)
    return float(np.where(size == 0, 1.0, 2 * (truth & guess).sum(axis=1) / np.maximum(size, 1)).mean())


def log_loss(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """Mean of -log p(truth); rows are made to sum to one, as most hosts do. Several labels: the mean over all cells."""
    truth, guess = numbers(solution, submission)
    if is_multiclass(truth):
        guess = np.clip(guess, 1e-15, None)
        return float(-(truth * np.log(guess / guess.sum(axis=1, keepdims=True))).sum(axis=1).mean())
    guess = np.clip(guess, 1e-15, 1 - 1e-15)
    return float(-(truth * np.log(guess) + (1 - truth) * np.log(1 - guess)).mean())


def roc_auc(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """Area under the ROC curve, the mean over columns; a column with a single class has none and is left out."""
    from sklearn.metrics import roc_auc_score
    truth, guess = numbers(solution, submission)
    areas = [roc_auc_score(t, g) for t, g in zip(truth.T, guess.T) if len(np.unique(t)) > 1]
    return float(np.mean(areas)) if areas else float("nan")


def quadratic_weighted_kappa(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """1 - mean squared difference of the pairs / that of all possible pairs: the usual definition without its matrices."""
    truth, guess = decisions(solution, submission)
    if truth.ndim > 1:
        raise ValueError("quadratic_weighted_kappa reads one label per row")
    truth, guess = truth.astype(float), guess.astype(float)
    by_chance = truth.var() + guess.var() + (truth.mean() - guess.mean()) ** 2
    return float(1 - ((truth - guess) ** 2).mean() / by_chance) if by_chance > 0 else 1.0


def rmse(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    """Root of the mean squared error, the mean over columns."""
    truth, guess = numbers(solution, submission)
    return float(np.sqrt(((truth - guess) ** 2).mean(axis=0)).mean())


def mae(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
    truth, guess = numbers(solution, submission)
    return float(np.abs(truth - guess).mean())


METRICS = {      # add yours: a function above, a word here (and in LOWER_IS_BETTER where that holds)
    "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1, "micro_f1": micro_f1, "samples_f1": samples_f1,
    "log_loss": log_loss, "roc_auc": roc_auc, "quadratic_weighted_kappa": quadratic_weighted_kappa, "rmse": rmse, "mae": mae,
}
