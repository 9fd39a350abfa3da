"""Hostile inputs against the stages' own entry points, in one process: each ends well, or in one clear error
without a traceback.

Run: python tests/fuzz_inputs.py --count 400 --seed 0        by kind: how many ended well, how many were
refused, and each that did neither
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src import config, split
from src.__main__ import exit_code
from src.competition import messages, tables
from src.competitions import load as load_competition
from src.data.decoding import decode
from src.data.run import Run
from src.experiments import EXPERIMENTS
from src.model import weights
from src.run import archives, configure
from src.run.paths import RunPaths

SECONDS = 60  # after which an input counts as hanging
RUN = "runs/x"
ODD_TEXTS = [
    "",
    " ",
    "\t",
    "\x00",
    "NA",
    "nan",
    "None",
    "inf",
    "-inf",
    "1e999",
    "-0",
    "0x10",
    "1_000",
    "٣",
    "ä",
    "é" * 300,
    "\U0001f600",
    "a" * 5000,
    "=1+1",
    "$(touch x)",
    "`touch x`",
    "';--",
    "../../x",
    "/etc/passwd",
    "~",
    "*",
    "%s%n",
    "{id}",
    "{0.__class__}",
    "\\",
    '"',
    "'",
    ",",
    ";",
    "\n",
    "\r\n",
    "\ufeff",
    "\udc80",
    "a b",
    "a,b",
    "1,5",
    "true",
    "[1]",
    '{"a": 1}',
    "con",
    "train/tr000.png",
    "1" * 400,
]


def make_template(folder: Path) -> Path:
    """A competition of 18 images to train on and 6 to test, in Kaggle's layout."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 18), ("test", 6)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(
                folder / part / f"{part[:2]}{i:03}.png"
            )
    (folder / "train.csv").write_text(
        "id,colour\n" + "".join(f"tr{i:03},{('red', 'blue')[i % 2]}\n" for i in range(18))
    )
    (folder / "sample_submission.csv").write_text(
        "id,colour\n" + "".join(f"te{i:03},red\n" for i in range(6))
    )
    return folder


# -- what an input goes through


def configured(words: dict[str, str]) -> None:
    os.environ.update(
        {
            "COMP": "x",
            "EXP": "own_model",
            "SET": "folds=2 image_size=8",
            "MACHINE": "wandb=off workers=0",
            "INPUTS": "inputs",
            "CACHE": "cache",
        }
        | words
    )
    configure.configure(RunPaths(Path(words.get("RUN", RUN))), os.environ, EXPERIMENTS)


def look(words: dict[str, str]) -> None:
    """config and split, then every image decoded as the training does it."""
    configured(words)
    paths = RunPaths(Path(RUN))
    settings = configure.load(paths.config)
    competition = load_competition(settings.comp, settings.inputs)
    run = Run(paths, settings, competition)
    split.split(run)
    decode(run, tables.read_folds(paths.folds))
    decode(run, tables.make_test(settings.folder, competition), tolerant=True)


# -- damage


def flip(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, cut, doubled or put in."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        place, kind = draw.randrange(len(changed) + 1), draw.randrange(5)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[place:place] = draw.randbytes(draw.choice([1, 2, 9]))
        elif kind == 2:
            del changed[place : place + draw.choice([1, 3, 50])]
        elif kind == 3:
            changed[place:place] = changed[place : place + draw.choice([1, 10, 100])]
        elif draw.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def csv_bytes(data: bytes, draw: random.Random) -> bytes:
    """A table as another program, a spreadsheet or an accident leaves it."""
    text = data.decode()
    lines = text.splitlines()
    cells = [line.split(",") for line in lines]
    row, column = draw.randrange(len(cells)), draw.randrange(len(cells[0]))
    kind = draw.randrange(16)
    if kind < 4:
        cells[row][column] = draw.choice(ODD_TEXTS)
    elif kind == 4:
        cells[0] = [draw.choice(ODD_TEXTS) for _ in cells[0]]
    elif kind == 5:
        cells = [[*line, draw.choice(ODD_TEXTS)] for line in cells]
    elif kind == 6:
        cells = [line[::-1] for line in cells]
    elif kind == 7:
        cells = [line[:1] for line in cells]
    elif kind == 8:
        draw.shuffle(cells)
    elif kind == 9:
        return draw.choice(["utf-16", "utf-8-sig", "utf-32", "cp037"]) and text.encode(
            draw.choice(["utf-16", "utf-8-sig", "utf-32", "cp037"])
        )
    elif kind == 10:
        return text.replace(",", draw.choice([";", "\t", "|", " ", ", ", ",,"])).encode()
    elif kind == 11:
        return text.replace("\n", draw.choice(["\r\n", "\r", "\n\n", "", '"\n'])).encode()
    elif kind == 12:
        return draw.choice(
            [
                b"",
                b"\n",
                b"id",
                b"\x00" * 50,
                b"<html>403</html>",
                draw.randbytes(500),
                b'"' * 99,
                data * 2,
                data[: draw.randrange(len(data))],
            ]
        )
    elif kind == 13:
        cells[row:] = cells[row + draw.randrange(5) :]
    elif kind == 14:
        cells = [[line[0], draw.choice(["0", "1", "0.5", "x y", "1e5", ""])] for line in cells]
    else:
        return flip(data, draw)
    return "\n".join(",".join(line) for line in cells).encode("utf-8", "surrogatepass") + b"\n"


def fuzz_csv(folder: Path, draw: random.Random) -> Callable[[], None]:
    source = folder / "inputs/x" / draw.choice(["train.csv", "train.csv", "sample_submission.csv"])
    target = source.with_name(
        draw.choice([source.name] * 4 + ["test.csv", "folds.csv", "external.csv", "groups.csv"])
    )
    target.write_bytes(csv_bytes(source.read_bytes(), draw))
    scheme = {"folds.csv": " fold_scheme=file", "groups.csv": " dedupe=group"}.get(target.name, "")
    return lambda: look({"SET": f"folds=2 image_size=8{scheme}"})


def picture_bytes(draw: random.Random) -> bytes:
    kind, packed = (
        draw.choice(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "EPS", "PDF", "ICO", "PCX"]),
        io.BytesIO(),
    )
    mode = "RGB" if kind in ("JPEG", "EPS", "PDF", "PPM", "WEBP") else draw.choice(["RGB", "L", "P", "1"])
    Image.new(mode, (draw.choice([1, 9, 40]), 16)).save(packed, kind)
    return packed.getvalue()


def fuzz_image(folder: Path, draw: random.Random) -> Callable[[], None]:
    for path in draw.sample(sorted((folder / "inputs/x").glob("t*/*.png")), k=draw.choice([1, 3])):
        kind = draw.randrange(8)
        path.unlink()
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.symlink_to(
                draw.choice(["/dev/zero", "/dev/null", path.name, "nowhere", "/proc/self/mem", ".", ".."])
            )
        elif kind == 2:
            path.mkdir()
        elif kind == 3:
            size = struct.pack(
                ">II", draw.choice([0, 1, 10**5, 2**31 - 1]), draw.choice([0, 1, 10**5, 2**31 - 1])
            )
            path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + b"\x08\x02\0\0\0" + draw.randbytes(50))
        elif kind == 4:
            path.write_bytes(
                draw.choice(
                    [b"", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", draw.randbytes(200)]
                )
            )
        elif kind == 5:
            path.write_bytes(picture_bytes(draw))
        else:
            path.write_bytes(flip(picture_bytes(draw), draw))
    drop = draw.choice(["", " bad_images=drop"])
    return lambda: look({"SET": f"folds=2 image_size=8{drop}"})


def fuzz_archive(folder: Path, draw: random.Random) -> Callable[[], None]:
    names = [
        draw.choice(
            [
                "train.csv",
                "a/b.png",
                "a",
                "../x",
                "/x",
                "a\\b",
                "C:/x",
                "a//b",
                ".",
                "./x",
                "..",
                "a/./b",
                "é" * 100,
                "n" * 300,
                "",
                "t.zip",
                "a\0b",
                "a:b",
            ]
        )
        for _ in range(draw.randrange(5))
    ]
    packed, inner = io.BytesIO(), make_zip(["train.csv"], draw)
    if draw.random() < 0.6:
        packed.write(make_zip(names, draw, inner))
        suffix = "zip"
    else:
        suffix = draw.choice(["tar", "tar.gz", "tar.xz", "tar.bz2"])
        with tarfile.open(fileobj=packed, mode="w:" + suffix.partition(".")[2]) as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.type = draw.choice(
                    [tarfile.REGTYPE] * 6
                    + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]
                )
                info.size, info.linkname = 3 if info.isreg() else 0, draw.choice(["/etc/passwd", "../../x"])
                tar.addfile(info, io.BytesIO(b"abc"))
    data = packed.getvalue()
    path = folder / "inputs" / f"y.{suffix}"
    path.write_bytes(flip(data, draw) if draw.random() < 0.6 else data)
    if draw.random() < 0.3:
        inside = folder / "inputs/x" / "more.zip"
        path.rename(inside)
        return lambda: archives.unpack_all(Path("inputs/x"))
    return lambda: archives.unpack(path.relative_to(folder), Path("inputs/y"))


def make_zip(names: list[str], draw: random.Random, inner: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(
        packed,
        "w",
        draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    ) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            if name in archive.namelist():
                continue
            info.external_attr = draw.choice([0o100644] * 8 + [0o120777, 0o10644, 0o40755]) << 16
            archive.writestr(info, inner if name.endswith("zip") else b"abc" * 50)
    data = bytearray(packed.getvalue())
    if draw.random() < 0.2 and len(data) > 40:
        data[draw.choice([6, 8, 22])] ^= draw.choice([1, 9, 255])
    return bytes(data)


def odd_setting(draw: random.Random, of: type) -> str:
    defaults = config.as_dict(of())
    name = draw.choice([*defaults] * 3 + ["", "lr ", "LR", "__class__", "epoch", "1", "folds[0]"])
    if draw.random() < 0.6 and name in defaults:
        return f"{name}={draw.choice([defaults[name], 0, 1, 2, 8, 0.5, 'true', 'none'])}".replace("()", "")
    value = draw.choice(
        [
            *ODD_TEXTS,
            "0",
            "1",
            "-1",
            "2",
            "0.5",
            "1e-3",
            "true",
            "false",
            "auto",
            "none",
            "a,b,,",
            ",",
            "1e400",
            "9" * 30,
        ]
    )
    return draw.choice(
        [
            f"{name}={value}",
            f"{name} = {value}",
            f"{name}:{value}",
            f"{name}={value},{name}={value}",
            f"--{name}",
            value,
        ]
    )


def fuzz_setting(folder: Path, draw: random.Random) -> Callable[[], None]:
    variable, of = draw.choice([("SET", config.Config), ("MACHINE", config.Machine)])
    text = draw.choice([" ", ",", ";", "  "]).join(
        odd_setting(draw, of) for _ in range(draw.choice([1, 2, 4]))
    )
    return lambda: look({variable: text.replace("\x00", "")})  # an environment holds no NUL


def fuzz_name(folder: Path, draw: random.Random) -> Callable[[], None]:
    variable = draw.choice(["COMP", "EXP", "INPUTS", "CACHE", "RUN"])
    value = draw.choice(
        [
            *ODD_TEXTS,
            "inputs/x",
            "x/",
            "ledger",
            "old",
            "x" * 246,
            ".x",
            "-x",
            "x..y",
            "inputs/x/train.csv",
            "/dev/null/x",
            "nowhere",
            "/proc",
        ]
    )
    value = value.replace("\x00", "")
    return lambda: (configured if variable == "RUN" else look)(
        {variable: f"runs/{value}" if variable == "RUN" else value}
    )


def fuzz_json(folder: Path, draw: random.Random) -> Callable[[], None]:
    """A run's own files, and what the cache remembers, damaged or from another hand; then the same command
    again.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        look({})
    path = draw.choice(
        sorted(
            [
                *folder.glob("runs/x/*.json"),
                *folder.glob("runs/x/folds.csv"),
                *folder.glob("cache/**/*.json"),
                *folder.glob("cache/**/*.npy"),
            ]
        )
    )
    other = [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "{}",
        '{"a": NaN}',
        json.dumps({"config": {}, "comp": "x"}),
        "[" * 10**5,
        '{"checksum": 1}',
        "\x00",
    ]
    path.write_bytes(flip(path.read_bytes(), draw) if draw.random() < 0.6 else draw.choice(other).encode())
    return lambda: look({})


def fuzz_weights(folder: Path, draw: random.Random) -> Callable[[], None]:
    import torch
    from safetensors.torch import save_file

    path = folder / draw.choice(["w.safetensors", "w.pth", "w.pt", "w.bin", "w.h5"])
    tensors = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(draw.choice([tensors, {"state_dict": tensors}, {}, [1], torch.nn.Linear(1, 1), "x"]), path)
    path.write_bytes(
        flip(path.read_bytes(), draw)
        if draw.random() < 0.7
        else draw.choice([b"", b"x", struct.pack("<Q", 2**60) + b"{}", path.read_bytes()])
    )
    return lambda: weights.load_state(path)  # type: ignore[return-value]


KINDS = {
    "csv": (fuzz_csv, 6),
    "image": (fuzz_image, 4),
    "archive": (fuzz_archive, 5),
    "setting": (fuzz_setting, 4),
    "name": (fuzz_name, 3),
    "json": (fuzz_json, 3),
    "weights": (fuzz_weights, 2),
}  # and how many of it in each round


def outcome(attempt: Callable[[], None]) -> tuple[str, str]:
    """("well" | "refused" | what is wrong, what was printed), through the same door as every stage."""
    printed, errors = io.StringIO(), io.StringIO()

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"not over after {SECONDS} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    result = "well"
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            code = exit_code(attempt)
        lines = errors.getvalue().splitlines()
        if (
            code == 2
            and any(line.startswith("error: ") for line in lines)
            and "Traceback" not in errors.getvalue()
        ):
            result = "refused"
        elif code:
            result = f"exit code {code} with a traceback or no error"
    except BaseException as error:
        result = f"escaped: {type(error).__name__}"
        errors.write(traceback.format_exc())
    finally:
        signal.alarm(0)
    return result, errors.getvalue()


def fuzz(count: int, seed: int, work: Path) -> tuple[Counter, list[str]]:
    """By (kind, outcome) how many inputs there were, and a line for each that ended in neither of the two
    good ways.
    """
    template, counts, bad = make_template(work / "template"), Counter(), []
    order = [kind for kind, (_, weight) in KINDS.items() for _ in range(weight)]
    before = dict(os.environ.items())
    home = Path.cwd()
    try:
        for number in range(count):
            kind, draw, folder = (
                order[number % len(order)],
                random.Random(f"{seed}-{number}"),
                work / str(number),
            )
            shutil.copytree(template, folder / "inputs/x")
            os.chdir(folder)
            around = {path.name for path in work.iterdir()}
            messages.say_once.cache_clear()
            result, errors = outcome(KINDS[kind][0](folder, draw))
            if kind == "archive" and {path.name for path in work.iterdir()} != around:
                result = "wrote outside its folder"
            counts[kind, result if result in ("well", "refused") else "bad"] += 1
            if result not in ("well", "refused"):
                bad.append(
                    f"input {number} of seed {seed}, {kind}: {result}\n{errors[:600]} ... {errors[-600:]}"
                )
            os.chdir(home)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.chdir(home)
        os.environ.clear()
        os.environ.update(before)
    return counts, bad


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        counts, bad = fuzz(args.count, args.seed, Path(work))
    for kind in KINDS:
        print(
            f"{kind:8} "
            + "  ".join(f"{result} {counts[kind, result]:4}" for result in ("well", "refused", "bad"))
        )
    print(*bad, sep="\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
