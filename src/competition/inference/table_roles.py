"""Which table is which: the training table, the list of test images and the sample, by what they name and
hold.
"""

import re
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from src.competition.inference.cells import is_constant, is_idle, is_line_number
from src.competition.inference.evidence import Evidence, Table
from src.competition.inference.patterns import located

SAMPLE_NAME = r"sampl|submi|提交|제출|提出|サンプル"
ANSWER_NAME = r"example|answer|output|template|format|predict|baseline|upload|result|示例|样例|예시|정답|回答"
TRAIN_NAME = r"train|label|truth|(?<![a-z])gt(?![a-z])|annot|master|학습|训练|学習"
TEST_NAME = r"(?<![a-z])test|eval|(?<![a-z])info|inference|private|public|테스트|测试|テスト"
# what a name says of a training table
TRAIN_POINTS = {
    TRAIN_NAME: 2.0,
    SAMPLE_NAME: -3.0,
    r"(?<![a-z])val(id)?": -1.0,
    "extra|example|mini|small|tiny": -0.5,
}


@dataclass(frozen=True)
class Roles:
    train: Table | None = None
    test: Table | None = None  # where it says more than the sample
    sample: Table | None = None
    rivals: tuple[Table, ...] = ()  # other tables that may be the sample
    tested: frozenset[int] = frozenset()  # the images that the sample names


def parts_named(table: Table, evidence: Evidence) -> Counter[str]:
    """The share of the table's rows that may name an image of each part."""
    if not table.key:
        return Counter()
    counts = Counter(part for row in table.key.places for part in {evidence.parts[place] for place in row})
    return Counter({part: count / len(table.frame) for part, count in counts.items()})


def sample_score(table: Table, evidence: Evidence) -> float:
    """How much speaks for a sample submission: its name, cells that tell nothing, and ids of images that are
    no training images.
    """
    name, frame, key = table.name, table.frame, table.key
    is_called_sample = bool(re.search(SAMPLE_NAME, name))
    score = -0.25 * table.file.count("/")
    if is_called_sample:
        score += 4
    elif re.search(ANSWER_NAME, name):
        score += 2
    elif re.search(TEST_NAME, name):
        score += 1
    if re.match(r"train|labels?[._]", name):
        score -= 4
    if len(frame.columns) < 2:
        score -= 1 if is_called_sample else 5
    others = [column for column in frame.columns[1:] if not key or column != key.column]
    if len(frame) > 1 and others and all(is_constant(frame[column]) for column in others):
        score += 2
    if key and key.share >= 0.5:
        parts = parts_named(table, evidence)
        if parts["test"] >= 0.5:
            score += 3
        elif parts["valid"] + parts[""] >= 0.5:
            score += 2
        elif not is_called_sample:
            score -= 5
    return score


def find_sample(evidence: Evidence) -> tuple[Table | None, tuple[Table, ...]]:
    """The table that most speaks for, and those for which as much speaks."""
    scores = {table.file: sample_score(table, evidence) for table in evidence.tables}
    likely = [table for table in evidence.tables if scores[table.file] >= 3.5]
    possible = [table for table in likely if not is_test_list(table, evidence)]
    if not possible:
        return None, ()
    named = [table for table in possible if re.search(SAMPLE_NAME, table.name)]
    if not named:
        most = max(scores[table.file] for table in possible)
        named = [table for table in possible if scores[table.file] >= most - 0.1]
    # a stage that is over names images that are not there
    most_images = max(num_images(table) for table in named)
    best = [table for table in named if num_images(table) == most_images]
    most = max(scores[table.file] for table in best)
    best = [table for table in best if scores[table.file] >= most - 1]
    return best[0], tuple(best) if len(best) > 1 else ()


def num_images(table: Table) -> int:
    return table.key.images if table.key else 0


def images_of(table: Table) -> set[int]:
    """The first image that each row may mean."""
    return {row[0] for row in table.key.places if row} if table.key else set()


def is_test_list(table: Table, evidence: Evidence) -> bool:
    """A list of test images by its contents: another table has all its columns, of other images, and at least
    one more, the label.
    """
    if re.search(f"{SAMPLE_NAME}|{ANSWER_NAME}", table.name) or not table.key:
        return False
    mine = images_of(table)
    return any(
        other.key and {*table.frame} < {*other.frame} and not mine & images_of(other)
        for other in evidence.tables
    )


def row_column(sample: Table, evidence: Evidence) -> str:
    """The sample's column that names its rows: usually the first; another where that one does not tell them
    apart and the other does.
    """
    first, *others = map(str, sample.frame.columns)
    column = sample.frame[first]
    key = sample.key
    named = {name for table in evidence.tables if table is not sample for name in table.frame}
    if key and key.column != first and key.share > 0.9 and key.is_unique:
        is_called_id = first.lower().startswith(("id", "image"))
        is_number = is_line_number(column) and first not in named and not is_called_id
        if not column.is_unique or is_number or first.startswith("Unnamed"):
            naming = [name for name, one in sample.namings.items() if one.share > 0.9 and one.is_unique]
            shared = [name for name in naming if name in named]
            return (shared or [key.column])[0]
    unique = [name for name in others if sample.frame[name].is_unique]
    if not column.is_unique and len(unique) == 1:
        return unique[0]
    return first


def find_roles(evidence: Evidence, train: Table | None = None, sample: Table | None = None) -> Roles:
    """The tables of the training images, of the test images, and the sample. What is stated comes in and
    stays.
    """
    rivals: tuple[Table, ...] = ()
    if not sample:
        sample, rivals = find_sample(evidence)
    if sample and sample is train:
        sample = None
    row = row_column(sample, evidence) if sample else ""
    tested = located(sample.key, evidence, "test").places if sample and sample.key else frozenset()
    others = [table for table in evidence.tables if table is not sample]
    if not train:
        scores = {table.file: train_score(table, evidence, tested, sample, row) for table in others}
        possible = [table for table in others if scores[table.file] >= 3]
        train = max(possible, key=lambda table: scores[table.file], default=None)
    others = [table for table in others if table is not train]
    return Roles(train, find_test(others, sample, row, evidence), sample, rivals, tested)


def train_score(
    table: Table, evidence: Evidence, tested: frozenset[int], sample: Table | None, row: str
) -> float:
    """How much speaks for the table of the training images: images that are not the test's, the columns or
    cells that the sample has, its name.
    """
    key, frame = table.key, table.frame
    asked = [str(name) for name in sample.frame if name != row] if sample else []
    labels = [name for name in frame if not key or name != key.column]
    labels = [name for name in labels if name in asked or not is_idle(frame[name])]
    if not labels:
        return -10
    rows = key.places if key else []
    own = [[p for p in row if p not in tested and evidence.parts[p] != "test"] for row in rows]
    share = sum(map(bool, own)) / max(len(frame), 1)
    score = train_name_score(table)
    if sample and key and share < 0.5 and key.column in sample.frame and "train" not in table.name:
        score -= 4
    if share >= 0.1:
        in_train = sum(any(evidence.parts[place] == "train" for place in row) for row in own) / len(frame)
        score += 4 * share + in_train
    if share >= 0.5:
        score += min(1.0, len({row[0] for row in own if row}) / 1000)
    return score + label_score(frame, labels, asked, sample, 4 if share else 3)


def label_score(
    frame: pd.DataFrame, labels: list[str], asked: list[str], sample: Table | None, of_columns: int
) -> float:
    """How much speaks for the table by the columns or cells that the sample has."""
    if {*asked} & {*labels}:
        return of_columns
    if len(asked) > 1:
        small = [name for name in labels if frame[name].nunique() < 20_000]
        return 3 if any(len({*asked} & {*frame[name]}) > 0.5 * len(asked) for name in small) else 0
    cells = sample.frame[asked[0]].unique()[:500] if asked and sample else []
    words = {word for cell in cells for word in cell.split()}
    return 1 if words and any(words <= {*frame[name]} for name in labels) else 0


def train_name_score(table: Table) -> float:
    """What the file's name says, which breaks ties."""
    name, score = table.name, -0.2 * table.file.count("/")
    for pattern, points in TRAIN_POINTS.items():
        if re.search(pattern, name):
            score += points
    is_test = re.search(TEST_NAME, name) and "train" not in name
    return score - 2 if is_test else score


def find_test(others: list[Table], sample: Table | None, row: str, evidence: Evidence) -> Table | None:
    """The table that holds the sample's rows and says more of them; without a sample, the one that names
    images of the test part.
    """
    rows = set(sample.frame[row]) if sample else set()
    best: tuple[bool, bool, int] | None = None
    test = None
    for table in others:
        is_called_test = bool(re.search(TEST_NAME, table.name))
        has_row = True
        if sample:
            holding = columns_with(rows, table)
            has_row = row in holding
            fits = bool(holding) and (row in table.frame or table.key is not None)
        else:
            parts = parts_named(table, evidence)
            is_test = parts["test"] >= 0.5 and parts["test"] > parts["train"]
            fits = table.key is not None and table.key.share >= 0.5
            fits = fits and (is_test or (is_called_test and parts["train"] < 0.5))
        rank = (has_row, is_called_test, len(table.frame.columns))
        if fits and (best is None or rank > best):
            best, test = rank, table
    return test


def columns_with(rows: set[str], table: Table) -> list[str]:
    """The columns that hold half of the sample's rows."""
    if len(rows) > 2 * len(table.frame):
        return []
    return [name for name in table.frame if len(rows & {*table.frame[name]}) >= 0.5 * len(rows)]
