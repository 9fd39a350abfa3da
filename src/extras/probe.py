"""A linear probe on what the frozen backbone sees of an image. Shared by the extras that ask what it sees; no
core file imports it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from src.competition.facts import Competition
from src.competition.tasks import TASKS
from src.config import Settings


def pooled(settings: Settings, competition: Competition, frames: Sequence[pd.DataFrame]) -> np.ndarray:
    """(N, F) float32 of the frames' images, one below the other: what a head-only run would give its head,
    from the same caches.
    """
    from src.data import features
    from src.model.classifier import build
    from src.run import locks

    how = replace(
        settings.config,
        trainable="head",
        head="linear",
        augment="none",
        views=1,
        drop_path_rate=0.0,
        init_from="",
    )
    settings = replace(settings, config=how)
    model = build(how, len(competition.outputs))
    # the whole backbone is frozen: a graph that can't be cut is no matter
    if not model.cut_at:
        model.trunk, model.cut_at = model.tail, "whole"
    accelerator = features.make_accelerator(settings)
    model.to(accelerator.device)
    found = []
    with locks.lock(settings.cache / settings.comp / "lock", wait=True):
        for frame in frames:
            pictures = features.decode(competition, settings, frame, tolerant=True)
            values = features.trunk_outputs(model, pictures, {"plain": None}, settings, accelerator)[0].values
            found.append(np.array(values).reshape(len(values), -1, values.shape[-1]).mean(axis=1))
    return np.concatenate(found)


def reduced(features: np.ndarray, size: int = 256) -> np.ndarray:
    """Centred, turned to the largest directions, of mean length 1."""
    centred = (features - features.mean(axis=0)).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    found = centred @ directions[:, ::-1][:, :size]
    return found / np.sqrt(np.square(found).sum(axis=1).mean()).clip(1e-9)


def answers(seen: np.ndarray, target: np.ndarray, asked: np.ndarray, *, task: str) -> np.ndarray:
    """Predictions (n, T) for the features `asked` of a linear model that learned the targets (m, T) of the
    features `seen`.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    if TASKS[task].kind == "value":
        return Ridge(alpha=0.1).fit(seen, target).predict(asked).reshape(len(asked), -1)
    # what can't be learned is answered with its share
    found = np.tile(target.mean(axis=0), (len(asked), 1))
    if task in ("multiclass", "binary"):
        label = target.argmax(axis=1)
        if len(set(label)) > 1:
            model = LogisticRegression(C=5, max_iter=200, tol=1e-3).fit(seen, label)
            found[:], found[:, model.classes_] = 0, model.predict_proba(asked)
        return found
    for column in np.flatnonzero((found[0] > 0) & (found[0] < 1)):
        found[:, column] = (
            LogisticRegression(C=5, max_iter=200, tol=1e-3)
            .fit(seen, target[:, column])
            .predict_proba(asked)[:, 1]
        )
    return found
