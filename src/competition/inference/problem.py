"""What is to be predicted: the task, its classes, and the form that the submission wants."""

import pandas as pd

from src.competition.facts import NUMBERS, OUTPUT, Competition
from src.competition.host_tables import spaced
from src.competition.inference.advice import Code, Statement, Unclear
from src.competition.inference.cells import are_numbers, joined_by
from src.competition.messages import listed, state

OUTLINE = r"[\s\[\]()]*-?\d+(\.\d+)?([\s,;\[\]()]+-?\d+(\.\d+)?){3,}[\s\[\]()]*"


def find_task(
    train: pd.DataFrame,
    labels: tuple[str, ...],
    asked: list[str],
    wants_float: bool,
    *,
    has_folders: bool = False,
    file: str = "",
) -> str:
    """What the labels' columns and cells are: classes, several classes of an image, or numbers. Raises
    Unclear.
    """
    # make_train reports the missing ones
    values = train.loc[(train[list(labels)] != "").all(axis=1), list(labels)]
    if len(labels) > 1:
        return task_of_columns(values)
    label = values[labels[0]]
    num = label.nunique()
    mark = joined_by(label, asked) if num > 2 else ""
    refuse_cells(label, mark, asked, file)
    if mark:
        return "multilabel"
    if len(asked) <= 1 and num > 2:
        is_amount = wants_float or (2 * num > len(label) and not has_folders)
        if are_numbers(label) and (is_amount or (label.astype(float) % 1 > 0).any()):
            return "regression"
        if wants_float:
            raise Unclear(
                f"the sample wants one number, but {labels[0]!r} has {num} classes: "
                + state("task or answer"),
                *one_number(label, asked),
            )
    if num < 2:
        value = label.iloc[0] if num else "nothing"
        raise Unclear(f"label column {labels[0]!r} holds {value} and no second value: {state('labels')}")
    return "binary" if num == 2 else "multiclass"


def task_of_columns(values: pd.DataFrame) -> str:
    """A column per class, per yes or no, or per number. Raises Unclear."""
    labels = list(values)
    if not all(are_numbers(values[column]) for column in labels):
        raise Unclear(
            f"label columns {listed(labels)} are neither 0/1 nor numbers: " + state("labels or task"),
            *({"labels": (name,)} for name in labels),
        )
    cells = values.astype(float)
    if cells.isin([-1, 1]).all(axis=None) and (cells == -1).any(axis=None):
        return "multilabel"  # as in CelebA: -1 says no
    if not cells.isin([0, 1]).all(axis=None):
        return "regression"
    if not (cells.sum(axis=1) == 1).all():
        return "multilabel"
    return "binary" if len(labels) == 2 else "multiclass"


def refuse_cells(label: pd.Series, mark: str, asked: list[str], file: str) -> None:
    """Cells that are no label as they stand: a decimal comma, names with spaces joined by a mark, outlines.
    Raises Unclear.
    """
    name = label.name
    if label.nunique() > 2 and label.str.fullmatch(r"[+-]?\d+,\d+").all():
        raise Unclear(
            f"the numbers of {name!r} have a decimal comma: {state('a make_table that writes a point')}",
            {"make_table": Code(f'lambda root: reshape.replaced(root, {file!r}, {name!r}, ",", ".")')},
        )
    if mark.strip() and label.str.split(mark, regex=False).explode().str.strip().str.contains(" ").any():
        apart = {"make_table": Code(f"lambda root: reshape.taken_apart(root, {file!r}, {name!r}, {mark!r})")}
        raise Unclear(
            f"the cells of {name!r} join several labels by {mark!r}, and labels have spaces in them: "
            + state("a make_table that takes them apart"),
            *([apart] if len(asked) > 1 else []),
        )
    if is_outline(label):
        raise Unclear(
            f"the cells of {name!r} are lists of numbers such as {label.iloc[0][:30]!r}, as outlines, boxes"
            " or keypoints have: this kit tells what an image shows, not where; else "
            + state("task or make_table")
        )


def one_number(label: pd.Series, asked: list[str]) -> list[Statement]:
    """Statements for a sample that wants one number of several classes: how sure it is that an image is not
    of one of them.
    """
    column = asked[0] if asked else "label"
    text = "lambda by_row, sample: sample.assign(**{%r: 1 - by_row[%r].to_numpy()})"
    names = sorted(label.unique())[:4]
    return [
        {"task": "multiclass", "answer": Code(text % (column, name)), "metric": "roc_auc"} for name in names
    ]


def is_outline(label: pd.Series) -> bool:
    """Run lengths, boxes or points: many numbers in most cells, hardly two cells alike."""
    cells = label.head(2000)
    is_list = cells.str.fullmatch(OUTLINE).mean() > 0.5
    if not is_list or cells.nunique() <= 0.5 * len(cells):
        return False
    return len({word for cell in cells for word in cell.split()}) > 50


def find_classes(train: pd.DataFrame, labels: tuple[str, ...], task: str) -> tuple[str, ...]:
    """Sorted as numbers when all are, else as text."""
    if task in NUMBERS:
        return ()
    if len(labels) > 1:
        return labels
    names = pd.Series(train[labels[0]].unique())
    if task == "multilabel":
        names = spaced(names, ()).str.split().explode().dropna().drop_duplicates()
    names = names[names != ""]
    return tuple(sorted(names, key=(lambda name: (float(name), name)) if are_numbers(names) else None))


def find_bounds(labels: pd.DataFrame) -> tuple[float, ...]:
    """The smallest and the largest number that there is; () when there is none, or only one."""
    numbers = labels.apply(pd.to_numeric, errors="coerce")
    low, high = float(numbers.min(axis=None)), float(numbers.max(axis=None))
    return (low, high) if low < high else ()


def find_answer(c: Competition, wants_probability: bool, cells: pd.Series) -> str:
    """The form that the sample's columns and numbers ask for. cells: its only column, where there is only
    one.
    """
    if c.task in NUMBERS:
        return "value"
    has_class_column = c.task == "multilabel" and len(c.labels) > 1 and c.names[1] in c.labels
    if OUTPUT in c.row or len(c.names) > 2 or has_class_column:
        return "probabilities"
    if c.task == "ordinal":
        return "label"
    if str(c.metric).startswith("map") or (c.is_single and have_several(cells, c.classes)):
        return "ranked"  # several labels wanted, where an image has one
    if c.task == "binary" and wants_probability:
        return "probability"
    return "words" if c.task == "multilabel" else "label"


def have_several(cells: pd.Series, classes: tuple[str, ...]) -> bool:
    """Do the sample's cells that are no class hold several classes each?"""
    several = [cell.split() for cell in cells.unique() if cell not in classes and " " in cell.strip()]
    return bool(several) and all({*words} <= {*classes} for words in several)
