"""Layouts of real competitions: most are understood at once, some in one question whose printed line answers
it, none wrongly in silence.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts_real import LAYOUTS, Layout

from src import competitions
from src.competition import answers, tables
from src.competition.facts import Competition
from src.run import predictions


def complaints(layout: Layout, root: Path, competition: Competition) -> list[str]:
    """Where what the kit understood differs from the layout's truth."""
    table, test, sample = (
        tables.make_train(root, competition),
        tables.make_test(root, competition),
        answers.sample(root, competition),
    )
    answers.check_sample(competition, test, sample)
    wrong = []
    if (labels := dict(zip(table["path"], told(layout, competition, table)))) != (
        truth := {path: in_order(layout, label) for path, label in layout.true_labels().items()}
    ):
        differing = [
            f"{path}: {labels.get(path)!r} is {truth.get(path)!r}"
            for path in sorted({*labels, *truth})
            if labels.get(path) != truth.get(path)
        ]
        wrong.append(f"{len(differing)} labels, such as {differing[:2]}")
    rows: dict[str, set[str]] = {}
    for row, path in zip(test["row"], test["path"]):
        rows.setdefault(row, set()).add(path)
    if rows != layout.true_tests():
        wrong.append(f"test rows {list(rows.items())[:2]}, not {list(layout.true_tests().items())[:2]}")
    if list(sample) != layout.header.split(","):
        wrong.append(f"columns {list(sample)}, not {layout.header}")
    answer_name = "function" if callable(competition.answer) else competition.answer
    if (competition.task, answer_name) != (layout.task, layout.answer):
        wrong.append(f"{competition.task} {answer_name}, not {layout.task} {layout.answer}")
    values = np.full((len(test), len(competition.outputs)), 1 / len(competition.outputs))
    by_row = predictions.pool(
        predictions.make(test["id"], values, competition.outputs),
        test.set_index("id")["row"],
        competition.pool,
    )
    answer = answers.answer_rows(competition, by_row, sample)
    if list(answer) != list(sample) or len(answer) != len(sample):
        wrong.append("the answer has another form than the sample")
    if layout.says and layout.says not in "\n".join([*competition.warnings, competition.assumed]):
        wrong.append(f"{layout.says!r} is not said, only {competition.warnings}")
    return wrong


def told(layout: Layout, competition: Competition, table: pd.DataFrame) -> list[str]:
    """The labels as the layout's truth writes them: names, or numbers per target."""
    rows = table.to_dict("records")
    if competition.task == "multilabel" and layout.truth == "{label}":
        return [" ".join(sorted(name for name in competition.classes if row[name] == "1")) for row in rows]
    if competition.task in ("multilabel", "regression"):
        return [" ".join(row[name] for name in competition.targets) for row in rows]
    return [row[competition.targets[0]] for row in rows]


def in_order(layout: Layout, label: str) -> str:
    if layout.task != "multilabel" or layout.truth != "{label}":
        return label
    mark = next((mark for mark in "|," if any(mark in name for name in layout.labels)), " ")
    return " ".join(sorted(label.split(mark)))


def verdict(layout: Layout, folder: Path) -> tuple[str, str]:
    """right; question (one error whose line, pasted, makes it right); stuck; or wrong, which is the worst: it
    would have run on. And what is to be said.
    """
    root = folder / layout.name
    layout.build(root)
    try:
        wrong = complaints(layout, root, competitions.load(layout.name, folder))
        return ("wrong" if wrong else "right"), "; ".join(wrong)
    except ValueError as error:
        message = str(error)
    problems = []
    for line in re.findall(r"^  (def competition\(\): return .*?)(?:    # .*)?$", message, re.M):
        (root / "competition.py").write_text(line + "\n")
        try:
            if not (wrong := complaints(layout, root, competitions.load(layout.name, folder))):
                return "question", message
            problems += wrong
        except ValueError as error:
            problems.append(f"{line} fails: {error}")
    return "stuck", "\n".join([message, *problems])


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[str, tuple[str, str]]:
    return {layout.name: verdict(layout, tmp_path_factory.mktemp("real")) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_real_layout_is_understood_or_asked_about(layout, verdicts):
    assert verdicts[layout.name][0] == ("question" if layout.asks else "right"), verdicts[layout.name][1]


def test_most_layouts_are_right_at_once_and_none_is_wrong_in_silence(verdicts):
    kinds = pd.Series([kind for kind, _ in verdicts.values()]).value_counts(normalize=True)
    assert (
        len(verdicts) >= 100
        and kinds.get("wrong", 0) == 0
        and kinds["right"] >= 0.8
        and kinds["right"] + kinds.get("question", 0) >= 0.95
    ), kinds
