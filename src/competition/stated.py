"""What a competitor states of a competition: in competition.py beside its files, or in COMPETITIONS."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import reshape, stacks, tables
from src.competition.facts import Competition
from src.competition.image_paths import from_names

FILE = "competition.py"  # beside a competition's files: a function competition() that returns a Competition


def read_dicom(record: dict) -> np.ndarray:
    """A grey DICOM image as uint8 (H, W); needs `pip install pydicom`."""
    import pydicom

    dicom = pydicom.dcmread(record["file"])
    pixels = dicom.pixel_array.astype("float32")
    is_inverted = dicom.PhotometricInterpretation == "MONOCHROME1"
    pixels = pixels.max() - pixels if is_inverted else pixels - pixels.min()
    return (255 * pixels / max(pixels.max(), 1)).astype("uint8")


def beside(file: Path) -> Competition:
    """The Competition that a competition.py beside the data returns. It is the user's own code: archives are
    never unpacked with one. Raises ValueError.
    """
    name = f"competition_{re.sub(r'[^a-zA-Z0-9]', '_', file.parent.name)}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    vars(module).update(NAMES)
    sys.modules[name] = module  # inspect looks there for the source of a function
    try:
        spec.loader.exec_module(module)
        stated = module.competition()
    except Exception as error:  # whatever the user's code raises is theirs to read
        raise ValueError(
            f"{file}: {type(error).__name__}: {error}; it needs a function `def competition(): return"
            " Competition(...)`"
        ) from error
    if not isinstance(stated, Competition):
        raise ValueError(f"{file}: competition() gives {type(stated).__name__}, not a Competition")
    return stated


# these need no import in a competition.py
NAMES = {
    "Competition": Competition,
    "tables": tables,
    "reshape": reshape,
    "stacks": stacks,
    "read_dicom": read_dicom,
    "Path": Path,
    "np": np,
    "pd": pd,
}


def fits(example: Competition, root: Path) -> bool:
    """Are the files here that an example names?"""
    files = [example.train_csv, example.test_csv, example.sample_csv]
    patterns = [example.train_images, example.test_images]
    folders = [re.split(r"[{*]", pattern)[0].rpartition("/")[0] for pattern in patterns]
    has_files = all((root / file).is_file() for file in files if file)
    if not has_files or not all((root / folder).is_dir() for folder in folders):
        return False
    columns = {example.group, *re.findall(r"\{(\w+)\}", example.row)} - {""}
    try:
        if columns and not example.make_table:
            header = tables.read_csv(root / "train.csv", rows=1).columns
            if not columns.issubset(header):
                return False
        return "{label}" not in example.train_images or len(from_names(root, example.train_images)) > 0
    except ValueError:
        return False
