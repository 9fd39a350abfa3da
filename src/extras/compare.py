"""Is run B really better than run A? Paired by image, on out-of-fold predictions.  runs/<A>, runs/<B> ->
lines on the terminal

Run: python -m src compare runs/<A> runs/<B>        make compare A=run B=run

Several seeds of each tell more: make compare A="a a-seed=1" B="b b-seed=1", which is
python -m src compare runs/a runs/a-seed=1 -- runs/b runs/b-seed=1
"""

import sys
from pathlib import Path

from src import competitions
from src.competition import tables
from src.extras.comparison import compare, summary_lines
from src.run import configure, predictions
from src.run.files import read_json
from src.run.paths import RunPaths


def main(words: list[str]) -> None:
    split = words.index("--") if "--" in words else 1
    a, b = ([RunPaths(Path(w)) for w in part if w != "--"] for part in (words[:split], words[split:]))
    if not a or len(a) != len(b):
        raise ValueError(
            "usage: make compare A=run B=run, or as many seeds of each: make compare"
            ' A="a a-seed=1" B="b b-seed=1"'
        )
    unfinished = [paths.name for paths in (*a, *b) if not paths.score.exists()]
    if unfinished:
        raise ValueError(f"{' and '.join(unfinished)} has no score.json yet: make train RUN={unfinished[0]}")
    settings = configure.load(a[0].config)
    competition = competitions.load(settings.comp, settings.inputs)
    same_folds = len({read_json(paths.score)["fold_hash"] for paths in (*a, *b)}) == 1
    if not same_folds:
        print("the runs have differing folds: images are paired, folds are not", file=sys.stderr)
    oof_a, oof_b = ([predictions.read(paths.scored()[0]) for paths in part] for part in (a, b))
    comparison = compare(competition, tables.read_folds(a[0].folds), oof_a, oof_b, same_folds=same_folds)
    names = (" ".join(paths.name for paths in a), " ".join(paths.name for paths in b))
    print(summary_lines(comparison, names, competition.metric_name))
