"""What was guessed, each in one line, with what to type where it is wrong."""

import re
from collections import Counter

import pandas as pd

from src.competition.facts import OUTPUT, Competition
from src.competition.messages import listed, state

# a class of this name changes when it is mirrored
ONE_SIDED = (
    r"(?<![a-z])(left|right|l|r|links|rechts|gauche|droite|izquierda|derecha"
    r"|clockwise|counterclockwise|ccw|cw|arrow|b_or_d)(?![a-z])"
)


def find_flips(classes: tuple[str, ...]) -> str:
    """Mirrors that keep the label: none for digits, letters, and what lies left or right."""
    digits = [name for name in classes if name in "0123456789" and len(name) == 1]
    letters = [name for name in classes if len(name) == 1 and name.isalpha()]
    are_digits = len(digits) == len(classes) >= 9
    are_letters = len(letters) >= max(10, 0.7 * len(classes))
    if are_digits or are_letters or any(re.search(ONE_SIDED, name.lower()) for name in classes):
        return ""
    return "h"


def find_warnings(c: Competition, unused: list[str], sample: pd.DataFrame) -> list[str]:
    """What a competitor should know before trusting a fold."""
    lines = []
    if not c.group:
        lines = [
            f"column {name!r} looks like a group (a patient, a site): if its images belong together,"
            f" {state(f'group={name!r}')}"
            for name in c.suspects[:4]
        ]
    if unused:
        lines.append(
            f"not used: {listed(unused)}; features=(...) in src/competitions.py gives columns to the head"
        )
    lines += doubts_of_positive(c)
    unseen = [name for name in c.names[1:] if name not in c.outputs]
    if unseen and c.answer == "probabilities" and OUTPUT not in c.row:
        lines.append(f"no training image is of the class {listed(unseen)}: 0 is submitted")
    lines += doubts_of_codes(c, sample)
    plain = Counter(name.lower() for name in c.classes)
    if alike := [name for name in c.classes if plain[name.lower()] > 1]:
        lines.append(f"classes that differ in case alone: {listed(alike)}")
    return lines


def doubts_of_positive(c: Competition) -> list[str]:
    """A single probability whose class nothing names."""
    if c.answer != "probability" or c.positive in c.names or {*c.classes} in ({"0", "1"}, {"-1", "1"}):
        return []
    return [
        f"the submission's number is taken for the probability of {c.positive!r}: else"
        f" {state(f'classes={c.classes[::-1]}, that one last,')}"
    ]


def doubts_of_codes(c: Competition, sample: pd.DataFrame) -> list[str]:
    """Cells of the sample that are none of the labels."""
    if c.answer not in ("label", "words", "ranked") or len(c.names) < 2 or c.names[1] not in sample:
        return []
    cells = set(sample[c.names[1]]) - {""}
    words = {word for cell in cells for word in (cell, *cell.split(), cell.removesuffix(".0"))}
    if not cells or words & {*c.classes}:
        return []
    return [
        f"{c.sample_csv} holds {listed(sorted(cells))}, none of the labels {listed(list(c.classes))}: if the"
        f" host wants other names or codes, {state('make_table or answer')}"
    ]


def find_doubts(c: Competition, labels: pd.DataFrame, sample: pd.DataFrame, asked: list[str]) -> list[str]:
    """The first doubt of the task or the form of the answer, if there is one."""
    cells = sample[asked[0]] if len(asked) == 1 and asked[0] in sample else pd.Series(dtype=str)
    if c.task == "regression":
        doubt = doubt_of_numbers(c, labels)
    else:
        doubt = doubt_of_classes(c, labels) or doubt_of_answer(c, cells) or doubt_of_words(c, labels)
    return [doubt] if doubt else []


def are_whole(labels: pd.DataFrame) -> bool:
    return all(column.str.fullmatch(r"-?\d*").all() for _, column in labels.items())


def doubt_of_numbers(c: Competition, labels: pd.DataFrame) -> str:
    """Numbers that may be classes."""
    if not are_whole(labels):
        return ""
    line = f"the whole numbers of {listed(list(c.labels))} are learned as amounts; are they"
    if len(c.labels) > 1:
        fact = "a make_table whose one label joins them, and an answer that takes it apart"
        return f"{line} codes of classes? Then {state(fact)}"
    if labels.iloc[:, 0].nunique() <= min(20, len(labels) / 3):
        return f"{line} classes? Then " + state('task="multiclass", or "ordinal" for grades,')
    return ""


def doubt_of_classes(c: Competition, labels: pd.DataFrame) -> str:
    """Classes that may be numbers."""
    if c.task != "multiclass" or len(c.labels) != 1 or len(c.classes) <= 10 or not are_whole(labels):
        return ""
    numbers = sorted(map(int, c.classes))
    return (
        f"{len(numbers)} whole numbers of {c.labels[0]}, {numbers[0]} to {numbers[-1]}, are taken for"
        " classes; are they amounts, such as an age? Then " + state('task="regression"')
    )


def doubt_of_answer(c: Competition, cells: pd.Series) -> str:
    """A label where the sample's only column may want several, or a probability."""
    if c.answer != "label" or not len(cells):
        return ""
    has_spaces = any(" " in name for name in c.classes)
    if not has_spaces and cells.str.strip().str.contains(" ").mean() > 0.5:
        return (
            f"a cell of {c.sample_csv} such as {cells.iloc[0]!r} holds several words, one label is submitted:"
            f" else {state('answer')}"
        )
    if c.task == "binary" and {*cells} <= {"0", "1"} == {*c.classes}:
        return (
            f"the sample's {cells.iloc[0]!r} may stand for a label or for a probability, labels are"
            " submitted; probabilities: " + state('answer="probability"')
        )
    return ""


def doubt_of_words(c: Competition, labels: pd.DataFrame) -> str:
    """Classes of several words that may be several labels."""
    if c.task != "multiclass" or len(c.labels) != 1 or not any(" " in name for name in c.classes):
        return ""
    words = {word for value in labels.iloc[:, 0].unique() for word in value.split()}
    if len(words) >= len(c.classes):
        return ""
    return (
        f"the {len(c.classes)} values of {c.labels[0]} are made of {len(words)} words and are taken for one"
        " class each; are the words labels? Then " + state('task="multilabel"')
    )
