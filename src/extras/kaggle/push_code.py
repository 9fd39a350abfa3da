"""make push-code RUN=x: a bundle as a data set and a notebook of one's account.  bundles/<run>/ -> Kaggle

The same command again makes a new version of both. The notebook runs on Kaggle; submitting its output stays
a click, on its page.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from src.extras.kaggle.client import connect, explained
from src.run.files import read_json, write_text

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

BUNDLES = Path("bundles")
OWNER = "USERNAME/"  # in the bundle's metadata, where the account's name belongs
METADATA = {"dataset": "dataset-metadata.json", "kernel": "kernel-metadata.json"}
WAIT, STEP = 900, 10  # seconds that a data set may take until it can be attached, and between two looks


class State(NamedTuple):
    """Of a data set on Kaggle."""

    status: str  # "ready" when it can be attached; "" where there is none of this name, or none yet
    version: int


def push_code(name: str, bundles: Path = BUNDLES) -> None:
    """Upload bundles/<name>/dataset, wait until it can be attached, then push bundles/<name>/kernel. Raises
    ValueError where a part is missing or Kaggle refuses it.
    """
    folders = {part: bundles / name / part for part in METADATA}
    if not all((folder / METADATA[part]).exists() for part, folder in folders.items()):
        raise ValueError(f"{bundles / name} is no whole bundle, which make bundle RUN={name} writes")
    api = connect()
    user = api.config_values[api.CONFIG_NAME_USER]
    for part, folder in folders.items():
        put_owner(folder / METADATA[part], user)
    push_dataset(api, folders["dataset"], name)
    with explained(name, "take the notebook of"):
        answer = api.kernels_push(str(folders["kernel"]))
    problems = [answer.error, *answer.invalid_dataset_sources, *answer.invalid_competition_sources]
    if any(problems):
        raise ValueError(f"{name}: Kaggle does not take the notebook: {', '.join(filter(None, problems))}")
    print(f"{folders['kernel']} -> {answer.url}, version {answer.version_number}, which runs now")
    print("When it has ended: Submit to Competition, on that page")


def put_owner(path: Path, user: str) -> None:
    """Put the account's name where the bundle has left a place for it."""
    write_text(path.read_text(encoding="utf-8").replace(OWNER, f"{user}/"), path)


def push_dataset(api: "KaggleApi", folder: Path, name: str) -> None:
    """A new data set, private, or a new version of it; returns when it can be attached. Its folders are sent
    as zips, which Kaggle unpacks.
    """
    dataset = read_json(folder / METADATA["dataset"])["id"]
    before = state_of(api, dataset)
    kind = "a new version" if before.status else "new"
    print(f"{folder} -> https://www.kaggle.com/datasets/{dataset}, {kind}", flush=True)
    with explained(dataset, "take the data set"):
        if before.status:
            answer = api.dataset_create_version(str(folder), f"run {name}", quiet=True, dir_mode="zip")
        else:
            answer = api.dataset_create_new(str(folder), quiet=True, dir_mode="zip")
    if answer.status.lower() != "ok":
        raise ValueError(f"{dataset}: Kaggle does not take the data set: {answer.error or answer.status}")
    wait_until_ready(api, dataset, before.version)


def state_of(api: "KaggleApi", dataset: str) -> State:
    """Of a data set of one's own; raises ValueError where Kaggle can't be asked."""
    import requests

    with explained(dataset, "look up"):
        try:
            state = json.loads(api.dataset_status(dataset, format="json"))
        except requests.exceptions.HTTPError as error:
            if error.response is None or error.response.status_code not in (403, 404):
                raise
            return State("", 0)
    return State(state["status"], state["current_version_number"])


def wait_until_ready(api: "KaggleApi", dataset: str, version: int) -> None:
    """Until there is a version beyond this one, and whole. Raises ValueError where that takes too long."""
    for _ in range(0, WAIT, STEP):
        state = state_of(api, dataset)
        if state.status == "ready" and state.version > version:
            return
        if state.status == "failed":
            break
        time.sleep(STEP)
    raise ValueError(
        f"{dataset} is not ready: see https://www.kaggle.com/datasets/{dataset}; the same command tries again"
    )
