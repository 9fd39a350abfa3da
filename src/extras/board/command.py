"""All finished runs on one page: score, spread, cost, what differs, and how out-of-fold and leaderboard
agree. runs/*/ -> runs/index.html

Run: python -m src board        make board
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from src.extras.page.blocks import Block, Cell, Figure, Note, Row, Section, Table, duration, number, signed
from src.extras.page.charts import Line, circles, line, plot, sparkline, text, x_scale, y_scale
from src.extras.page.render import render, write_page
from src.extras.results import Result, changes, finished, leaderboard, pareto_front, predecessor

RUNS, LEDGER = Path("runs"), Path("submissions/ledger.csv")
BOARDS = ("public", "private")
MOST_CHANGES = 4
COLUMNS = (
    *("run", "score", "spread", "public", "private", "gain", "over", "differs in"),
    *("epochs", "seconds", "competition", "metric", "when"),
)
NUMERIC = frozenset({1, 2, 3, 4, 5, 9, 12})


def board(folder: Path = RUNS, ledger: Path = LEDGER) -> Path:
    """Write the page; returns its path. Raises ValueError where no run is finished."""
    results = finished(folder)
    if not results:
        raise ValueError(f"{folder} holds no finished run yet: make submit makes one")
    known = leaderboard(ledger)
    sections = [overview(results, known)]
    for comp, metric in sorted({(result.comp, result.score["metric"]) for result in results}):
        of_comp = [one for one in results if (one.comp, one.score["metric"]) == (comp, metric)]
        if len(of_comp) > 1:
            sections.append(competition(comp, metric, of_comp, known))
    html = render(
        "board.html.j2",
        Path(__file__).parent,
        sections=sections,
        title="All runs",
        footer=(
            f"Podium, {datetime.now():%Y-%m-%d %H:%M}. One file: it loads nothing. make board writes it"
            " again."
        ),
    )
    path = folder / "index.html"
    size = write_page(html, path)
    print(f"board: {path}, {len(results)} runs, {size:.2f} MB")
    return path


def overview(results: Sequence[Result], known: dict[str, dict[str, float]]) -> Section:
    """The table of all runs, the newest first."""
    comps = {result.comp for result in results}
    sentence = f"{len(results)} finished runs"
    sentence += f" of {len(comps)} competitions." if len(comps) > 1 else f" of {next(iter(comps))}."
    sentence += (
        " A gain is over the earlier run that a run differs least from; below the spread of folds it may be"
        " noise."
    )
    rows = [row_of(result, results, known.get(result.name, {})) for result in results]
    caption = "The newest first. A name leads to the run's report, where there is one."
    return Section("runs", "Runs", sentence, [filled(caption, rows)])


def filled(caption: str, rows: Sequence[Sequence[Cell]]) -> Table:
    """The table without the columns that are empty, or say the same competition and metric of all runs."""
    shown = []
    for place, name in enumerate(COLUMNS):
        texts = {row[place].text for row in rows}
        is_plain = name in ("competition", "metric") and len(texts) == 1 and len(rows) > 1
        if texts != {""} and not is_plain:
            shown.append(place)
    numeric = frozenset(number for number, place in enumerate(shown) if place in NUMERIC)
    kept = [[row[place] for place in shown] for row in rows]
    return Table(caption, [COLUMNS[place] for place in shown], kept, numeric, can_filter=True, first=100)


def row_of(result: Result, results: Sequence[Result], public: dict[str, float]) -> list[Cell]:
    score, other = result.score, predecessor(result, results)
    report = result.paths.root / "report.html"
    gain, over, different = Cell(""), Cell(""), Cell("")
    if other is not None:
        value = result.sign * (score["oof"] - other.score["oof"])
        mark = "" if abs(value) <= score["spread"] else "good" if value > 0 else "bad"
        gain, over = signed(value)._replace(mark=mark), Cell(other.name)
        names = [f"{change.name}={change.here}" for change in changes(result, other)]
        more = f" and {len(names) - MOST_CHANGES} more" if len(names) > MOST_CHANGES else ""
        different = Cell(", ".join(names[:MOST_CHANGES]) + more or "nothing")
    curve = sparkline(result.epochs, f"{len(result.epochs)} epochs", lower_is_better=result.sign < 0)
    return [
        Cell(result.name, link=f"{result.name}/report.html" if report.exists() else ""),
        number(score["oof"]),
        number(score["spread"]),
        *(number(public[name]) if name in public else Cell("", float("-inf")) for name in BOARDS),
        gain,
        over,
        different,
        Cell(str(len(result.epochs)) if result.epochs else "", len(result.epochs), picture=curve),
        Cell(duration(result.cost), result.cost),
        Cell(result.comp),
        Cell(score["metric"]),
        Cell(f"{datetime.fromtimestamp(result.when):%m-%d %H:%M}", result.when),
    ]


def competition(
    comp: str, metric: str, results: Sequence[Result], known: dict[str, dict[str, float]]
) -> Section:
    """The pictures of one competition."""
    best = max(results, key=lambda result: result.sign * result.score["oof"])
    sentence = f"The best of {len(results)} runs is {best.name} with {metric} {best.score['oof']:.4f}"
    sentence += f", for {duration(best.cost)} of computing." if best.cost else "."
    figures = [
        figure
        for figure in (cost_figure(metric, results), leaderboard_figure(metric, results, known))
        if figure
    ]
    blocks: list[Block] = [Row(figures)] if figures else []
    if len(figures) < 2 and not any(result.name in known for result in results):
        blocks.append(
            Note(
                "The ledger knows no leaderboard score of these runs yet: submissions/ledger.csv has room"
                " for it."
            )
        )
    identity = f"{comp}-{metric}".replace(" ", "-")
    return Section(identity, comp, sentence, blocks)


def cost_figure(metric: str, results: Sequence[Result]) -> Figure | None:
    """Score against cost; the line joins the runs that no cheaper one beats."""
    priced = [result for result in results if result.cost > 0 and np.isfinite(result.score["oof"])]
    if len(priced) < 2:
        return None
    costs, scores = [result.cost for result in priced], [result.score["oof"] for result in priced]
    front = pareto_front(costs, [result.sign * result.score["oof"] for result in priced])
    x, y = x_scale(costs, log=True, margin=0.08), y_scale(scores, margin=0.12)
    path = line(Line([costs[i] for i in front], [scores[i] for i in front], "c1", "", "Pareto front"), x, y)
    looks = ["c1" if place in front else "c0" for place in range(len(priced))]
    names = [f"{r.name}: {r.score['oof']:.4f}, {duration(r.cost)}" for r in priced]
    marks = [
        path,
        circles(x(costs), y(scores), looks, names, radius=4),
        *labels(priced, front, x(costs), y(scores)),
    ]
    title = f"{metric} against seconds of computing"
    drawing = plot(x, y, marks, title=title, x_label="seconds, all folds", y_label=metric)
    caption = f"The {len(front)} runs on the line are worth a look: no cheaper run scores as well."
    return Figure(drawing, caption, [("c1", "Pareto front"), ("c0", "other runs")])


def labels(results: Sequence[Result], front: Sequence[int], x: np.ndarray, y: np.ndarray) -> list:
    """The names of the runs at both ends of the front."""
    return [
        text(
            x[place],
            y[place] - 9,
            short(results[place].name),
            anchor="start" if x[place] < 200 else "end",
            look="note",
        )
        for place in {front[0], front[-1]}
    ]


def short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def leaderboard_figure(
    metric: str, results: Sequence[Result], known: dict[str, dict[str, float]]
) -> Figure | None:
    """Out-of-fold against the leaderboard, for the runs that the ledger has a score of."""
    boards = {name: [result for result in results if name in known.get(result.name, {})] for name in BOARDS}
    if not any(boards.values()):
        return None
    oof = [result.score["oof"] for of_board in boards.values() for result in of_board]
    there = [known[result.name][name] for name, of_board in boards.items() for result in of_board]
    x, y = x_scale(oof, margin=0.1), y_scale([*there, *oof], margin=0.1)
    ends = [max(x.low, y.low), min(x.high, y.high)]
    marks = [line(Line(ends, ends, "c7", "dashed", "equal"), x, y)] if ends[0] < ends[1] else []
    legend, captions = [], []
    for (name, of_board), colour in zip(boards.items(), ("c0", "c1")):
        if not of_board:
            continue
        a = np.array([result.score["oof"] for result in of_board])
        b = np.array([known[result.name][name] for result in of_board])
        hover = [
            f"{result.name}: {one:.4f}, {name} {other:.4f}" for result, one, other in zip(of_board, a, b)
        ]
        marks.append(circles(x(a), y(b), [colour] * len(a), hover, radius=4))
        legend.append((colour, name))
        captions.append(f"{name}: on average {np.mean(b - a):+.4f} against out-of-fold{agreement(a, b)}")
    drawing = plot(
        x,
        y,
        marks,
        title=f"Leaderboard against out-of-fold {metric}",
        x_label=f"out-of-fold {metric}",
        y_label="leaderboard",
    )
    return Figure(drawing, f"Leaderboard against out-of-fold. {'; '.join(captions)}.", legend)


def agreement(a: np.ndarray, b: np.ndarray) -> str:
    """How well the two order the runs, where there are enough of them."""
    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return ""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return f", rank correlation {np.corrcoef(*ranks)[0, 1]:.2f} over {len(a)} runs"


def main(words: list[str]) -> None:
    if words:
        raise ValueError("usage: python -m src board        it shows all of runs/")
    board()
