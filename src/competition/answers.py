"""Predictions in the host's form: the sample submission, the forms of an answer, and what a file may hold."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.facts import OUTPUT, WORDS, Competition
from src.competition.formats import read_csv
from src.competition.host_tables import host_table, label_separator, spaced
from src.competition.messages import complain
from src.competition.tables import make_test


def sample(root: Path, competition: Competition) -> pd.DataFrame:
    """The host's sample submission, or one made of the test rows where there is none."""
    if competition.sample_csv:
        return host_table(root, competition.sample_csv, {*competition.header[:1]})
    filler = competition.classes[0] if competition.answer in ("label", *WORDS) else "0"
    rows = sorted({*make_test(root, competition)["row"]})
    return blank(competition, rows).replace("", filler)


def blank(competition: Competition, rows: Iterable[str]) -> pd.DataFrame:
    """An empty submission for these rows; where the host wants it so, with a line per row and output."""
    header = competition.header
    lines = line_names(competition, rows)
    return pd.DataFrame({name: lines if name == header[0] else "" for name in header})


def line_names(competition: Competition, rows: Iterable[str]) -> list[str]:
    """The submission's lines for these rows: the rows, or a line per output of each where `row` is such as
    "{id}_{output}".
    """
    if OUTPUT not in competition.row:
        return list(rows)
    end = competition.row.partition("}")[2]
    ends = [end.replace(OUTPUT, output) for output in competition.outputs]
    return [row + end for row in rows for end in ends]


def check_sample(competition: Competition, test: pd.DataFrame, sample: pd.DataFrame) -> None:
    """Raises ValueError unless each row of the sample is there once and has a test image."""
    name = competition.sample_csv or "the sample"
    header = competition.header
    if not {*header} <= {*sample}:
        raise ValueError(f"{name} has the columns {', '.join(sample)}, not {', '.join(header)}")
    rows = sample[header[0]]
    lines = {*line_names(competition, test["row"].tolist())}
    lost = rows[[row not in lines for row in rows.tolist()]]
    problems = complain(rows[rows.duplicated()], f"rows stand twice in {name}")
    problems += complain(lost, f"of {len(rows)} rows of {name} have no test image ({competition.test_csv})")
    if problems:
        raise ValueError("\n".join(problems))


def answer_rows(competition: Competition, by_row: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
    """Predictions by row in the host's form: the sample's columns, rows and order, joined by row. Columns of
    the sample that are not to be filled are copied. Raises ValueError for a row without a prediction.
    """
    row, *columns = competition.header
    if OUTPUT in competition.row and not callable(competition.answer):
        values = pd.Series(by_row.to_numpy().reshape(-1), line_names(competition, by_row.index))
        return sample.assign(**{columns[0]: in_order(values, sample[row]).to_numpy()})
    by_row = in_order(by_row, sample[row])
    if callable(competition.answer):
        return competition.answer(by_row, sample)
    answer = ANSWERS[competition.answer](by_row, competition).set_axis(columns, axis=1)
    if competition.answer == "words":
        mark = label_separator(sample[columns[0]], competition.classes)
        answer = answer.apply(lambda column: column.str.replace(" ", mark))
    if tuple(sample) == competition.header:
        return answer.rename_axis(row).reset_index()
    return sample.assign(**{name: answer[name].to_numpy() for name in answer})


def in_order(values: Any, rows: pd.Series) -> Any:
    """The values (a frame or series by row) of these rows, in their order. Raises ValueError where some are
    missing.
    """
    if values.index.equals(pd.Index(rows)):  # usual, and isin is slow
        return values
    lost = rows[~rows.isin(values.index)]
    if len(lost):
        raise ValueError(complain(lost, "rows of the sample have no prediction")[0])
    return values.loc[rows]


def write(competition: Competition, answer: pd.DataFrame, path: Path) -> None:
    """Write the answer in the sample's form: its separator, with or without a header, a nameless column."""
    separator = "\t" if competition.sample_csv.lower().endswith(".tsv") else ","
    named = answer.rename(columns={"Unnamed: 0": ""})
    named.to_csv(path, index=False, header=competition.has_header, sep=separator)


def write_checked(competition: Competition, answer: pd.DataFrame, sample: pd.DataFrame, path: Path) -> None:
    """Write the answer, and check what lies on the disk as the host will read it. Raises ValueError."""
    write(competition, answer, path)
    check_answer(competition, read_csv(path, header=competition.has_header), sample)


def check_answer(competition: Competition, answer: pd.DataFrame, sample: pd.DataFrame) -> None:
    """Compare the written submission with the sample: header, rows, order, no gaps, labels that exist,
    numbers that are. Raises ValueError.
    """
    if list(answer) != list(sample):
        raise ValueError(f"submission: the columns are {list(answer)[:6]}, the sample has {list(sample)[:6]}")
    row, *columns = competition.header
    rows, wanted = answer[row], sample[row]
    repeated = rows[rows.duplicated()]
    missing, unknown = sorted({*wanted} - {*rows}), sorted({*rows} - {*wanted})
    problems = []
    if len(repeated):
        problems.append(f"{len(repeated)} rows stand twice, the first is {repeated.iloc[0]!r}")
    if missing or unknown:
        problems.append(
            f"{len(missing)} rows of the sample are missing {missing[:3]}, {len(unknown)} are not in it"
            f" {unknown[:3]}"
        )
    elif not len(repeated) and list(rows) != list(wanted):
        problems.append("the rows are not in the sample's order")
    for column in columns:
        empty = rows[answer[column].isin(["", "nan", "NaN", "inf", "-inf"])]
        if len(empty):
            problems.append(
                f"column {column!r} has {len(empty)} empty or non-finite values, the first in row"
                f" {empty.iloc[0]!r}"
            )
        elif cells := invalid_cells(competition, answer[column]):
            problems.append(f"column {column!r} holds what can't be an answer: {cells[:5]}")
    if problems:
        raise ValueError("submission: " + "; ".join(problems))


def invalid_cells(competition: Competition, column: pd.Series) -> list[str]:
    """The different cells of a column of the written submission that can't be an answer."""
    if callable(competition.answer):
        return []
    if competition.answer == "label":
        return sorted({*column} - {*competition.classes})
    if competition.answer in WORDS:
        words = spaced(column, competition.classes).str.split().explode().fillna("")
        return sorted({*words} - {*competition.classes})
    values = pd.to_numeric(column, errors="coerce")
    is_valid = values.notna() if competition.answer == "value" else values.between(0, 1)
    return sorted({*column[~is_valid]})


# -- forms of an answer: (predictions by row, competition) -> the columns after the row's


def as_label(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """The likeliest class, or the nearest grade."""
    classes = competition.classes
    if competition.task == "ordinal":
        grade = by_row.iloc[:, 0].round().clip(0, len(classes) - 1).astype(int)
        label = pd.Series(np.array(classes, dtype=object)[grade], by_row.index)
    else:
        label = by_row.idxmax(axis=1)
    are_whole_numbers = all(re.fullmatch(r"0|-?[1-9]\d*", name) for name in classes)  # "007" is not
    return (label.astype(int) if are_whole_numbers else label).to_frame()


def as_probability(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    return by_row[[competition.positive]]


def as_columns(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """A column per class or number, by name; 0 for a class without training images. A single number may have
    any name.
    """
    if len(competition.names) == 2:
        return by_row[list(competition.scored or competition.outputs)]
    return by_row.reindex(columns=list(competition.names[1:]), fill_value=0.0)


def as_words(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """Every class from a half on, joined by spaces; where there is none, the likeliest. Nothing where all are
    0, as in the truth of an unlabelled image.
    """
    values, names = by_row.to_numpy(), by_row.columns.to_numpy(dtype=object)
    chosen = values >= 0.5
    none = ~chosen.any(axis=1) & (values > 0).any(axis=1)
    chosen[none, values[none].argmax(axis=1)] = True
    # few rows differ, and joining is slow
    packed = pd.Series([row.tobytes() for row in np.packbits(chosen, axis=1)], dtype=object)
    codes, _ = pd.factorize(packed)
    first = np.unique(codes, return_index=True)[1]
    words = np.array([" ".join(names[row]) for row in chosen[first]], dtype=object)
    return pd.DataFrame({"words": words[codes]}, index=by_row.index)


def as_ranked(by_row: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """The likeliest classes, best first, joined by spaces: as many as the metric's name says (map3), else
    five; none with a probability of 0.
    """
    digits = re.search(r"\d+$", competition.metric_name)
    num = int(digits[0]) if digits else 5
    values, names = by_row.to_numpy(), by_row.columns.to_numpy(dtype=object)
    order = np.argsort(-values, axis=1, kind="stable")[:, :num]
    words = [" ".join(names[best[value[best] > 0]]) for best, value in zip(order, values)]
    return pd.DataFrame({"words": words}, index=by_row.index)


# add yours: a function above, a word here
ANSWERS: dict[str, Callable[[pd.DataFrame, Competition], pd.DataFrame]] = {
    "label": as_label,
    "probability": as_probability,
    "probabilities": as_columns,
    "words": as_words,
    "ranked": as_ranked,
    "value": as_columns,
}
