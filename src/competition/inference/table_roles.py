"""Which table is which: the training table, the list of test images and the sample, by what they name and
hold.
"""

import re
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from src.competition.inference.evidence import Evidence, Table
from src.competition.inference.patterns import located

SAMPLE_NAME = r"sampl|submi|提交|제출|提出|サンプル"
ANSWER_NAME = r"example|answer|output|template|format|predict|baseline|upload|result|示例|样例|예시|정답|回答"
TRAIN_NAME = r"train|label|truth|(?<![a-z])gt(?![a-z])|annot|master|학습|训练|学習"
TEST_NAME = r"(?<![a-z])test|eval|(?<![a-z])info|inference|private|public|테스트|测试|テスト"


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


def is_constant(column: pd.Series) -> bool:
    return column.nunique() <= 1


def sample_score(table: Table, evidence: Evidence) -> float:
    """How much speaks for a sample submission: its name, cells that tell nothing, and ids of images that are
    no training images.
    """
    name, parts = table.name, parts_named(table, evidence)
    is_called_train = bool(re.match(r"train|labels?[._]", name))
    score = (
        4.0 * bool(re.search(SAMPLE_NAME, name))
        or 2.0 * bool(re.search(ANSWER_NAME, name))
        or 1.0 * bool(re.search(TEST_NAME, name))
    )
    score -= (
        4 * is_called_train
        + (1 if score == 4 else 5) * (len(table.frame.columns) < 2)
        + 0.25 * table.file.count("/")
    )
    others = [column for column in table.frame.columns[1:] if not table.key or column != table.key.column]
    score += 2 * (
        len(table.frame) > 1 and bool(others) and all(is_constant(table.frame[column]) for column in others)
    )
    if table.key and table.key.share >= 0.5:
        is_elsewhere = parts["valid"] + parts[""] >= 0.5
        score += (
            3 if parts["test"] >= 0.5 else 2 if is_elsewhere else 0 if re.search(SAMPLE_NAME, name) else -5
        )
    return score


def find_sample(evidence: Evidence) -> tuple[Table | None, tuple[Table, ...]]:
    """The table that most speaks for, and those for which as much speaks."""
    scores = {table.file: sample_score(table, evidence) for table in evidence.tables}
    possible = [
        table for table in evidence.tables if scores[table.file] >= 3.5 and not is_test_list(table, evidence)
    ]
    if not possible:
        return None, ()
    named = [table for table in possible if re.search(SAMPLE_NAME, table.name)]
    possible = named or possible
    most = max(scores[table.file] for table in possible)
    images = {
        table.file: table.key.images if table.key else 0 for table in possible
    }  # a stage that is over names images that are not there
    if not named:
        possible = [table for table in possible if scores[table.file] >= most - 0.1]
    best = [table for table in possible if images[table.file] == max(images.values())]
    best = [table for table in best if scores[table.file] >= max(scores[one.file] for one in best) - 1]
    return best[0], tuple(best) if len(best) > 1 else ()


def is_test_list(table: Table, evidence: Evidence) -> bool:
    """A list of test images by its contents: another table has all its columns, of other images, and at least
    one more, the label.
    """
    if re.search(f"{SAMPLE_NAME}|{ANSWER_NAME}", table.name) or not table.key:
        return False
    mine = {row[0] for row in table.key.places if row}
    for other in evidence.tables:
        if (
            other is not table
            and other.key
            and {*table.frame} < {*other.frame}
            and not mine & {row[0] for row in other.key.places if row}
        ):
            return True
    return False


def row_column(sample: Table, evidence: Evidence) -> str:
    """The sample's column that names its rows: usually the first; another where that one does not tell them
    apart and the other does.
    """
    first = str(sample.frame.columns[0])
    others = [str(name) for name in sample.frame.columns[1:]]
    if sample.key and sample.key.column != first and sample.key.share > 0.9 and sample.key.is_unique:
        is_number = is_line_number(sample.frame[first])
        known = any(first in table.frame for table in evidence.tables if table is not sample)
        if (
            not sample.frame[first].is_unique
            or is_number
            and not known
            and not first.lower().startswith(("id", "image"))
            or first.startswith("Unnamed")
        ):
            naming = [name for name, one in sample.namings.items() if one.share > 0.9 and one.is_unique]
            shared = [
                name
                for name in naming
                if any(name in table.frame for table in evidence.tables if table is not sample)
            ]
            return (shared or [sample.key.column])[0]
    if not sample.frame[first].is_unique and len(sample.frame) > 1:
        unique = [name for name in others if sample.frame[name].is_unique]
        if len(unique) == 1:
            return unique[0]
    return first


def is_line_number(column: pd.Series) -> bool:
    values = column.tolist()
    return any(values == [str(number) for number in range(start, start + len(values))] for start in (0, 1))


def find_roles(
    evidence: Evidence, train: Table | None = None, sample: Table | None = None, *, is_stated: bool = False
) -> Roles:
    """The tables of the training images, of the test images, and the sample. What is stated comes in and
    stays.
    """
    rivals: tuple[Table, ...] = ()
    if not sample and not is_stated:
        sample, rivals = find_sample(evidence)
    if sample and sample is train:
        sample = None
    row = row_column(sample, evidence) if sample else ""
    asked = [str(name) for name in sample.frame if name != row] if sample else []
    rows = set(sample.frame[row]) if sample else set()
    tested = located(sample.key, evidence, "test").places if sample and sample.key else frozenset()
    scores = {
        table.file: train_score(table, evidence, tested, rows, asked, sample)
        for table in evidence.tables
        if table is not sample
    }
    if not train:
        train = max(
            (table for table in evidence.tables if scores.get(table.file, 0) >= 3),
            key=lambda table: scores[table.file],
            default=None,
        )
    others = [table for table in evidence.tables if table is not sample and table is not train]
    test = find_test(others, sample, row, rows, evidence)
    return Roles(train, test, sample, rivals, tested)


def train_score(
    table: Table,
    evidence: Evidence,
    tested: frozenset[int],
    rows: set[str],
    asked: list[str],
    sample: Table | None,
) -> float:
    """How much speaks for the table of the training images: images that are not the test's, the columns or
    cells that the sample has, its name.
    """
    key, frame = table.key, table.frame
    labels = [
        name
        for name in frame
        if (not key or name != key.column)
        and (name in asked or not is_constant(frame[name]) and not is_line_number(frame[name]))
    ]
    if not labels:
        return -10
    score = train_name_score(table)
    own = (
        [[p for p in row if p not in tested and evidence.parts[p] != "test"] for row in key.places]
        if key
        else []
    )
    share = sum(map(bool, own)) / max(len(frame), 1)
    if sample and key and rows and share < 0.5 and key.column in sample.frame and "train" not in table.name:
        score -= 4
    if key and share >= 0.1:
        in_train = sum(any(evidence.parts[place] == "train" for place in row) for row in own) / len(frame)
        score += (
            4 * share
            + in_train
            + (min(1.0, len({row[0] for row in own if row}) / 1000) if share >= 0.5 else 0)
        )
    if {*asked} & {*labels}:
        return score + (4 if share else 3)
    if len(asked) > 1:
        small = [name for name in labels if frame[name].nunique() < 20_000]
        return score + (3 if any(len({*asked} & {*frame[name]}) > 0.5 * len(asked) for name in small) else 0)
    cells = sample.frame[asked[0]].unique()[:500] if asked and sample else []
    words = {word for cell in cells for word in cell.split()}
    return score + (1 if words and any(words <= {*frame[name]} for name in labels) else 0)


def train_name_score(table: Table) -> float:
    """What the file's name says, which breaks ties."""
    name, score = table.name, -0.2 * table.file.count("/")
    for pattern, points in (
        (TRAIN_NAME, 2.0),
        (SAMPLE_NAME, -3.0),
        (r"(?<![a-z])val(id)?", -1.0),
        ("extra|example|mini|small|tiny", -0.5),
    ):
        score += points if re.search(pattern, name) else 0
    return score - (2 if re.search(TEST_NAME, name) and "train" not in name else 0)


def find_test(
    others: list[Table], sample: Table | None, row: str, rows: set[str], evidence: Evidence
) -> Table | None:
    """The table that holds the sample's rows and says more of them; without a sample, the one that names
    images of the test part.
    """
    fitting = []
    for table in others:
        if sample:
            holds = [
                column
                for column in table.frame
                if len(rows) <= len(table.frame) * 2 and len(rows & {*table.frame[column]}) >= 0.5 * len(rows)
            ]
            if holds and (row in table.frame or table.key):
                fitting.append(
                    (row in holds, bool(re.search(TEST_NAME, table.name)), len(table.frame.columns), table)
                )
        elif table.key and table.key.share >= 0.5:
            parts = parts_named(table, evidence)
            if (
                parts["test"] >= 0.5
                and parts["test"] > parts["train"]
                or re.search(TEST_NAME, table.name)
                and parts["train"] < 0.5
            ):
                fitting.append(
                    (True, bool(re.search(TEST_NAME, table.name)), len(table.frame.columns), table)
                )
    return max(fitting, key=lambda entry: entry[:3], default=(None,))[-1]
