"""What a competitor states of a competition: in competition.py beside its files, or in COMPETITIONS."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import reshape, tables
from src.competition.facts import Competition

FILE = "competition.py"  # beside a competition's files: a function competition() that returns a Competition


def read_dicom(record: dict) -> np.ndarray:
    """A grey DICOM image as uint8 (H, W); needs `pip install pydicom`."""
    import pydicom

    dicom = pydicom.dcmread(record["file"])
    pixels = dicom.pixel_array.astype("float32")
    pixels = (
        pixels.max() - pixels if dicom.PhotometricInterpretation == "MONOCHROME1" else pixels - pixels.min()
    )
    return (255 * pixels / max(pixels.max(), 1)).astype("uint8")


def beside(file: Path) -> Competition:
    """The Competition that a competition.py beside the data returns. It is the user's own code: archives are
    never unpacked with one. Competition, tables, reshape, read_dicom, Path, np and pd need no import there.
    Raises ValueError.
    """
    spec = importlib.util.spec_from_file_location(
        f"competition_{re.sub(r'[^a-zA-Z0-9]', '_', file.parent.name)}", file
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    vars(module).update(
        Competition=Competition,
        tables=tables,
        reshape=reshape,
        Path=Path,
        np=np,
        pd=pd,
        read_dicom=read_dicom,
    )
    # inspect looks there for the source of a function
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        stated = module.competition()
    # whatever the user's code raises is theirs to read
    except Exception as error:
        raise ValueError(
            f"{file}: {type(error).__name__}: {error}; it needs a function `def competition(): return"
            " Competition(...)`"
        ) from error
    if not isinstance(stated, Competition):
        raise ValueError(f"{file}: competition() gives {type(stated).__name__}, not a Competition")
    return stated


def fits(example: Competition, root: Path) -> bool:
    """Do the files that an example speaks of lie here?"""
    named = [file for file in (example.train_csv, example.test_csv, example.sample_csv) if file]
    folders = [
        re.split(r"[{*]", pattern)[0].rpartition("/")[0]
        for pattern in (example.train_images, example.test_images)
    ]
    if not all((root / file).is_file() for file in named) or not all(
        (root / folder).is_dir() for folder in folders
    ):
        return False
    columns = (
        {example.group, *re.findall(r"\{(\w+)\}", example.row)} - {""} if not example.make_table else set()
    )
    try:
        if columns and not columns <= {*tables.read_csv(root / "train.csv", rows=1)}:
            return False
        return "{label}" not in example.train_images or bool(
            len(tables.from_names(root, example.train_images))
        )
    except ValueError:
        return False
