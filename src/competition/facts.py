"""What a competition is: everything that is the host's and not ours."""

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import tables
from src.competition.formats import COLUMN
from src.competition.metrics import METRICS, split_words
from src.competition.tasks import ANSWERS, TASKS, WORDS
from src.run import hashing, predictions


@dataclass(frozen=True)
class Competition:
    """A field at its default is inferred, where its comment does not say otherwise. Columns are those of the
    host's csv.
    """

    name: str = ""  # the folder below inputs/; every path here is relative to it
    train_csv: str = ""  # none: the images' own names tell the label
    test_csv: str = ""  # none: the sample lists the test images, or the test folder does
    sample_csv: str = ""  # none: every test image is a row
    # a pattern with {id} or any {column}; ".*" is any image suffix, "**/" any folders between.
    train_images: str = ""
    # Without a csv its {names} become the columns, as in "train/{label}/*"
    test_images: str = ""
    id: str = ""  # the column that names an image
    # the column, or pattern of columns, that names a line of the submission; none: the id
    row: str = ""
    # the column(s) of the train csv to be predicted: a label, words, or a number per column
    labels: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()  # the outputs that the submission wants, where others learn along
    # extra columns, of train and test csv, given to the head; not inferred
    features: tuple[str, ...] = ()
    # the column whose images stay in one fold together, such as a patient; not inferred
    group: str = ""
    task: str = ""  # a name in TASKS; ordinal and bounded are not inferred
    # of task="bounded": the smallest and largest value that there can be; inferred: that there is
    bounds: tuple[float, ...] = ()
    # in the order of the outputs; for task="ordinal" from the lowest to the highest
    classes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()  # the submission's columns, the row's first
    # joins the images of a row: mean, max, or a function, frame (n, T) -> series (T,)
    pool: str | Callable = "mean"
    # a name in ANSWERS, or a function (predictions by row, sample) -> frame like the sample
    answer: str | Callable = ""
    # a name in METRICS, or the host's (solution, submission[, row id column]) -> float, pasted
    metric: str | Callable = ""
    lower_is_better: bool = False  # known for METRICS; state it for a pasted one
    # mirrors that keep the label: "", h, v, hv; inferred: h, and none for digits
    flips: str = "auto"
    max_pixels: int = 178_956_970  # of an image that is opened without complaint (Pillow's limit)
    # in place of train_csv: folder -> frame with id, label, and path or what train_images needs
    make_table: Callable | None = None
    # in place of test_csv: folder -> frame with id, and path or what test_images needs
    make_test: Callable | None = None
    # (table, competition) -> the truth as the metric wants it; else it is made like an answer
    make_solution: Callable | None = None
    # record (a row of the table, and `file`: its absolute path) -> uint8 (H, W, 3)
    read_image: Callable | None = None
    # rows whose image is missing get an average answer, as unreadable ones do; else they are an error
    missing_test: bool = False
    # found in the files: columns that look like a group
    suspects: tuple[str, ...] = field(default=(), compare=False)
    # to be looked at before a fold is trusted
    warnings: tuple[str, ...] = field(default=(), compare=False)
    assumed: str = field(default="", compare=False)  # what no file tells, in one line

    @property
    def targets(self) -> tuple[str, ...]:
        """The table's target columns: the one with the label, or one per class or number."""
        if self.task == "multilabel":
            return self.classes
        # "group" may be what is to be told
        is_free = len(self.labels) == 1 and self.labels[0] not in tables.RESERVED
        return self.labels if self.task in tables.NUMBERS or is_free else ("label",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of the predictions."""
        return self.targets if self.task in (*tables.NUMBERS, "ordinal") else self.classes

    @property
    def is_single(self) -> bool:
        """Is one class right for each row?"""
        return self.task in ("multiclass", "binary")

    @property
    def positive(self) -> str:
        """The class whose probability a single column wants: the one it is called after, else the last: 1 of
        0 and 1.
        """
        return next(name for name in (*self.names[1:], self.classes[-1]) if name in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The header's names without the spaces that may surround them there, and as classes where they are
        these with something before or after.
        """
        names = [name.strip() for name in self.header]
        before, after = (
            os.path.commonprefix(names[1:]),
            os.path.commonprefix([name[::-1] for name in names[1:]])[::-1],
        )
        for start, end in [(k, 0) for k in range(1, len(before) + 1)] + [
            (0, k) for k in range(1, len(after) + 1)
        ]:
            bare = [name[start : len(name) - end] for name in names[1:]]
            if len(names) > 2 and {*bare} == {*self.classes}:
                return (names[0], *bare)
        return tuple(names)

    @property
    def metric_name(self) -> str:
        return self.metric if isinstance(self.metric, str) else hashing.name_of(self.metric)

    def table(self, root: Path, *, tolerant: bool = False) -> pd.DataFrame:
        """id, row, path, targets, group, features of the training images, tolerant: without those that lack a
        file or a label. Raises ValueError with all that is wrong.
        """
        return tables.make_train(root, self, tolerant=tolerant)

    def test_table(self, root: Path) -> pd.DataFrame:
        """id, row, path, features of the test images."""
        return tables.make_test(root, self)

    def sample(self, root: Path) -> pd.DataFrame:
        """The host's sample submission, or one made of the test rows where there is none."""
        if self.sample_csv:
            return tables.host_table(root, self.sample_csv, {*self.header[:1]})
        filler = self.classes[0] if self.answer in ("label", *WORDS) else "0"
        return self.blank(sorted(set(self.test_table(root)["row"]))).replace("", filler)

    def blank(self, rows: list[str]) -> pd.DataFrame:
        """An empty submission for these rows; a line per output of each where the host has it so."""
        lines = (
            [self.line(row, output) for row in rows for output in self.outputs]
            if tables.OUTPUT in self.row
            else list(rows)
        )
        return pd.DataFrame({name: lines if name == self.header[0] else "" for name in self.header})

    def line(self, row: str, output: str) -> str:
        """The name of the sample's line for one output of a row, where row is such as "{id}_{output}"."""
        return row + self.row.partition("}")[2].replace(tables.OUTPUT, output)

    @property
    def has_header(self) -> bool:
        """Columns of a sample without a header are called by their number, and what is submitted has none
        either.
        """
        return not all(name.startswith(COLUMN) for name in self.header)

    def write(self, answer: pd.DataFrame, path: Path) -> None:
        """The answer as a file in the sample's form: with its header or without, its separator, a column
        without a name.
        """
        separator = "\t" if self.sample_csv.lower().endswith(".tsv") else ","
        answer.rename(columns={"Unnamed: 0": ""}).to_csv(
            path, index=False, header=self.has_header, sep=separator
        )

    def check_sample(self, test: pd.DataFrame, sample: pd.DataFrame) -> None:
        """Each row of the sample stands there once and has a test image. Raises ValueError."""
        name = self.sample_csv or "the sample"
        if not {*self.header} <= {*sample}:
            raise ValueError(f"{name} has the columns {', '.join(sample)}, not {', '.join(self.header)}")
        rows = sample[self.header[0]]
        known = test["row"].tolist()
        if tables.OUTPUT in self.row:
            known = [self.line(row, output) for row in known for output in self.outputs]
        problems = tables.complain(rows[rows.duplicated()], f"rows stand twice in {name}")
        problems += tables.complain(
            rows[~rows.isin(known)], f"of {len(rows)} rows of {name} have no test image ({self.test_csv})"
        )
        if problems:
            raise ValueError("\n".join(problems))

    def answer_rows(self, by_row: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
        """Predictions by row in the host's form: the sample's columns, rows and order, joined by row. What
        the sample only hands on is copied.
        """
        rows = sample[self.header[0]]
        if tables.OUTPUT in self.row and not callable(self.answer):
            return sample.assign(**{self.header[1]: self.lines_of(by_row, rows)})
        # thousands of times they are equal, and isin is slow
        if not by_row.index.equals(pd.Index(rows)):
            if lost := tables.complain(
                rows[~rows.isin(by_row.index)], "rows of the sample have no prediction"
            ):
                raise ValueError(lost[0])
            by_row = by_row.loc[rows]
        if callable(self.answer):
            return self.answer(by_row, sample)
        answer = ANSWERS[self.answer](by_row, self).set_axis(list(self.header[1:]), axis=1)
        if self.answer == "words" and (mark := tables.mark_of(sample[self.header[1]], self.classes)) != " ":
            answer = answer.apply(lambda column: column.str.replace(" ", mark))
        if tuple(sample) == self.header:
            return answer.rename_axis(self.header[0]).reset_index()
        return sample.assign(**{name: answer[name].to_numpy() for name in answer})

    def lines_of(self, by_row: pd.DataFrame, lines: pd.Series) -> np.ndarray:
        """The values in the order of the sample's lines, one for each row and output."""
        names = [self.line(row, output) for row in by_row.index for output in by_row.columns]
        values = pd.Series(by_row.to_numpy().reshape(-1), index=names)
        if lost := tables.complain(lines[~lines.isin(values.index)], "rows of the sample have no prediction"):
            raise ValueError(lost[0])
        return values.loc[lines].to_numpy()

    def strange_answers(self, column: pd.Series) -> list[str]:
        """What stands in a column of the written submission and can't be an answer."""
        if callable(self.answer):
            return []
        if self.answer in ("label", *WORDS):
            words = tables.spaced(column, self.classes).str.split() if self.answer in WORDS else column
            said = words.explode().fillna("")
            return sorted(set(said) - {*self.classes})
        values = pd.to_numeric(column, errors="coerce")
        return sorted(set(column[~(values.notna() if self.answer == "value" else values.between(0, 1))]))

    def truth(self, table: pd.DataFrame) -> pd.DataFrame:
        """What perfect predictions by row would be."""
        images = predictions.make(table["id"], TASKS[self.task].encode(table, self), self.outputs)
        largest, smallest = (
            predictions.pool(images, table.set_index("id")["row"], how) for how in ("max", "min")
        )
        differing = largest.index[(largest != smallest).any(axis=1)]
        if len(differing):
            raise ValueError(
                f"images of one row differ in label: {tables.listed(list(differing))}:"
                f" {tables.state('make_solution')}"
            )
        return largest

    def score(self, table: pd.DataFrame, oof: pd.DataFrame) -> float:
        """The host's metric of predictions for images of the table, by the way that the submission takes:
        pool, answer, metric.
        """
        return self.score_of(table)(oof)

    def score_of(self, table: pd.DataFrame) -> Callable[[pd.DataFrame], float]:
        """`score` as a function of the predictions alone. For the same images again, epoch by epoch, their
        truth is made only once.
        """
        # the rows of the last call, and their scorer
        known: list[tuple[pd.Index, Callable[[pd.DataFrame], float]]] = []

        def score(oof: pd.DataFrame) -> float:
            part, by_row = self.pooled(table, oof)
            if not known or not known[0][0].equals(by_row.index):
                known[:] = [(by_row.index, self.scorer(part, by_row.index))]
            return known[0][1](by_row)

        return score

    def scorer(self, table: pd.DataFrame, rows: pd.Index) -> Callable[[pd.DataFrame], float]:
        """The host's metric as a function of predictions for these rows; their truth is made only once."""
        blank = self.blank(rows)
        solution = (
            self.make_solution(table, self)
            if self.make_solution
            else self.answer_rows(self.truth(table), blank)
        )
        return lambda by_row: self.metric_value(solution, self.answer_rows(by_row, blank))

    def pooled(self, table: pd.DataFrame, oof: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The part of the table that is predicted, and the predictions by row."""
        # they are, epoch by epoch, and isin is slow
        if not pd.Index(table["id"]).equals(oof.index):
            table = table[table["id"].isin(oof.index)]
        return table, predictions.pool(oof, table.set_index("id")["row"], self.pool)

    def metric_value(self, solution: pd.DataFrame, submission: pd.DataFrame) -> float:
        """The metric of two frames in the host's form, joined by row."""
        row = submission.columns[0]
        solution = solution.rename(columns={solution.columns[0]: row}).set_index(row)
        submission = submission.set_index(row)
        if not submission.index.equals(solution.index):
            submission = submission.loc[solution.index]
        # the truth may come from a csv, as text
        if numeric := [name for name in submission.select_dtypes("number") if name in solution]:
            solution = solution.assign(**{name: pd.to_numeric(solution[name]) for name in numeric})
        if not callable(self.metric):
            return self.known_metric(
                self.metric,
                *(split_words(solution, submission) if self.answer == "words" else (solution, submission)),
            )
        needed = [p for p in inspect.signature(self.metric).parameters.values() if p.default is p.empty]
        if len(needed) < 3:
            return float(self.metric(solution, submission))
        return float(self.metric(solution.reset_index(), submission.reset_index(), row))

    def known_metric(self, name: str, solution: pd.DataFrame, submission: pd.DataFrame) -> float:
        """One of METRICS, told by the task whether one class is right: sums of rows don't, when these are
        pooled by max or have a label each.
        """
        metric = METRICS[name]
        is_asked = "is_single" in inspect.signature(metric).parameters
        return (
            metric(solution, submission, is_single=self.is_single)
            if is_asked
            else metric(solution, submission)
        )

    def also(self, table: pd.DataFrame, oof: pd.DataFrame) -> dict[str, float]:
        """Accuracy and log loss whatever the metric is; for values the two usual errors."""
        table, by_row = self.pooled(table, oof)
        wanted, names = (
            list(self.scored or self.outputs),
            (("rmse", "mae") if TASKS[self.task].kind == "value" else ("accuracy", "log_loss")),
        )
        return {name: self.known_metric(name, self.truth(table)[wanted], by_row[wanted]) for name in names}

    def facts(self) -> dict:
        """What can change a model: goes into hashes. Neither paths nor the metric are among it."""
        read_image = hashing.name_of(self.read_image) if self.read_image else ""
        facts = {
            "task": self.task,
            "outputs": self.outputs,
            "features": self.features,
            "flips": self.flips,
            "read_image": read_image,
        }
        own: dict[str, dict] = {"bounded": {"bounds": self.bounds}, "ordinal": {"classes": self.classes}}
        return facts | own.get(self.task, {})

    def paste(self) -> str:
        """The definition as Python, for COMPETITIONS."""
        function = re.sub(r"\W|^(?=\d)", "_", self.name.lower())
        stated = [
            (f.name, getattr(self, f.name))
            for f in fields(self)
            if f.compare and getattr(self, f.name) != f.default
        ]
        facts = [f"{name}={as_code(value)}," for name, value in stated if len(repr(value)) <= LONGEST]
        long = [
            f"        # {name}: {len(value)}, as the files have them"
            for name, value in stated
            if len(repr(value)) > LONGEST
        ]
        return "\n".join(
            [
                f"def {function}() -> Competition:",
                "    return Competition(",
                *wrapped(facts, indent=8),
                *long,
                "    )",
            ]
        )


def wrapped(words: list[str], indent: int, width: int = 118) -> list[str]:
    """Lines of several words, none of which is broken: a definition is a few lines and not a screen."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(" " * indent + word)
    return lines


def as_code(value: object) -> str:
    """A field's value as Python, a function by its name."""
    if isinstance(value, partial):
        words = [
            *map(as_code, value.args),
            *(f"{name}={as_code(word)}" for name, word in value.keywords.items()),
        ]
        return f"partial({', '.join([as_code(value.func), *words])})"
    return hashing.name_of(value) if callable(value) else repr(value)


LONGEST = 2000  # characters of a value that is printed
# beside a competition's files: a function competition() that returns a Competition
FILE = "competition.py"
