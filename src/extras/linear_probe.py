"""A linear model of the features of the frozen backbone. Shared by audit and advise."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from src.competition.tasks import TASKS
from src.data.run import Run


def backbone_features(run: Run, tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """(N, F) float32 of all tables' images: the input of a head-only run's head, from the same caches."""
    from src.data import features
    from src.data.decoding import decode
    from src.data.transfer import as_tensor
    from src.model.classifier import build
    from src.model.engines import Trunk
    from src.run import locks
    from src.run.device import make_accelerator

    config = replace(run.config, trainable="head", head="linear", augment="none", views=1, init_from="")
    config = replace(config, drop_path_rate=0.0)
    run = replace(run, settings=replace(run.settings, config=config))
    model = build(config, len(run.competition.outputs))
    if not model.cut_at:  # nothing learns, so the whole backbone can be taken for the trunk
        model.trunk, model.cut_at = model.tail, "whole"
    accelerator = make_accelerator(run.machine)
    model.to(accelerator.device)
    trunk, parts = Trunk(model, run.machine, accelerator), []
    with locks.lock(run.settings.cache / run.settings.comp / "lock", wait=True):
        for table in tables:
            pictures = decode(run, table, tolerant=True)
            outputs = features.trunk_outputs(run, trunk, pictures, {"plain": None}, accelerator)[0]
            values = as_tensor(np.array(outputs.values)).float().numpy()
            parts.append(values.reshape(len(values), -1, values.shape[-1]).mean(axis=1))
    return np.concatenate(parts)


def principal_components(features: np.ndarray, size: int = 256) -> np.ndarray:
    """(N, size) float64: centred, turned into the directions of the largest variance, of mean length 1."""
    centred = (features - features.mean(axis=0)).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    components = centred @ directions[:, ::-1][:, :size]
    return components / np.sqrt(np.square(components).sum(axis=1).mean()).clip(1e-9)


def fit_predict(train: np.ndarray, target: np.ndarray, test: np.ndarray, *, task: str) -> np.ndarray:
    """Predictions (n, T) for `test` by a linear model fitted to `train` (m, F) and its targets (m, T)."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if TASKS[task].kind == "value":
        return Ridge(alpha=0.1).fit(train, target).predict(test).reshape(len(test), -1)
    # a column without two classes is predicted by its mean
    predicted = np.tile(target.mean(axis=0), (len(test), 1))
    model = LogisticRegression(C=5, max_iter=200, tol=1e-3)
    if task in ("multiclass", "binary"):
        label = target.argmax(axis=1)
        if len(set(label)) > 1:
            model.fit(train, label)
            predicted[:] = 0
            predicted[:, model.classes_] = model.predict_proba(test)
        return predicted
    for column in np.flatnonzero((predicted[0] > 0) & (predicted[0] < 1)):
        predicted[:, column] = model.fit(train, target[:, column]).predict_proba(test)[:, 1]
    return predicted
