"""The files of a competition: listed once, and an index that tells which images a name in a table means."""

import os
import posixpath
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# what a read_image opens
OTHER_SUFFIXES = ".dcm .dicom .npy .npz .h5 .hdf5 .nii .heic .jp2 .avif .svg .ppm .pgm".split()
ANY_SUFFIX = {*IMAGE_SUFFIXES, *OTHER_SUFFIXES}
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".001")
# what a user or the kit puts beside the host's files
OWN = {"competition.py", "external.csv", "groups.csv", "folds.csv"}
EXTERNAL = "external.csv"  # more training images than the host's, and a folder of that name for them
# a path with others there needs no cleaning
PLAIN_FIRST, PLAIN_LAST = (".", " ", "\t", "/", ""), ("/", " ", "\t", "\n")
CROWDED = 16  # images of one name, from which on they are looked up with their folder


def list_files(root: Path, below: str = "") -> list[str]:
    """Every file's path relative to root, sorted. Links are followed, but no folder is entered twice; hidden
    files are left out, and links to nothing.
    """
    found: list[str] = []
    seen: set[tuple[int, int]] = set()

    def walk(folder: str, prefix: str) -> None:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
        found.extend(prefix + entry.name for entry in visible if entry.is_file())
        for name in sorted(entry.name for entry in visible if entry.is_dir()):
            walk(f"{folder}/{name}", f"{prefix}{name}/")

    if (root / below).is_dir():
        walk(str(root / below), f"{below.strip('/')}/" if below else "")
    return sorted(found)


def dead_links(root: Path) -> list[str]:
    """Links that lead to nothing, such as those of a disk that is not there."""
    paths = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    return sorted(
        path.relative_to(root).as_posix() for path in paths if path.is_symlink() and not path.exists()
    )


def host_files(root: Path) -> list[str]:
    """The files that tell what the competition is: not the kit's own, nor those in external/, where there is
    an external.csv.
    """
    files = list_files(root)
    aside = "external/" if EXTERNAL in files else "\0"
    return [file for file in files if file not in OWN and not file.startswith(aside)]


def only_images(files: list[str], any_file: bool = False) -> list[str]:
    """The files that may be images: by suffix, or all where read_image opens what we do not know."""
    return files if any_file else [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]


def clean(path: str) -> str:
    """A path column may say ./train/a.JPG or train\\a.jpg; the case of an image's suffix tells nothing, nor
    how a Mac writes an accent.
    """
    if (
        not path.isascii()
        or "\\" in path
        or "//" in path
        or "/." in path
        or path[:1] in PLAIN_FIRST
        or path[-1:] in PLAIN_LAST
    ):
        path = posixpath.normpath(unicodedata.normalize("NFC", path).strip().replace("\\", "/"))
    stem, dot, suffix = path.rpartition(".")
    return f"{stem}.{suffix.lower()}" if stem and dot + suffix.lower() in IMAGE_SUFFIXES else path


def without_suffix(path: str) -> str:
    """The path without an image's suffix; another dot, as in 10.5 or x.y, stays."""
    stem, dot, suffix = path.rpartition(".")
    return stem if stem and dot + suffix.lower() in ANY_SUFFIX else path


class ImageIndex:
    """The places (numbers in `files`) of the images that a name may mean: by the last part of the path,
    without suffix, in any case.
    """

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.paths = [clean(file).casefold() for file in files]  # as they are compared
        # a list only where several have the stem: a million lists need memory
        self.by_stem: dict[str, int | list[int]] = {}
        for place, path in enumerate(self.paths):
            name = path[path.rfind("/") + 1 :]
            stem, bare = stem_of(name), without_suffix(name)
            self.add(stem, place)
            if bare != stem:
                self.add(bare, place)

    def add(self, stem: str, place: int) -> None:
        first = self.by_stem.setdefault(stem, place)
        if isinstance(first, list):
            first.append(place)
        elif first != place:
            self.by_stem[stem] = [first, place]

    @cached_property
    def by_folder(self) -> dict[str, list[int]]:
        """ "folder/stem" -> places, for stems that many images have: 1.jpg in each of a thousand folders."""
        found: dict[str, list[int]] = {}
        for stem, places in self.by_stem.items():
            for place in places if isinstance(places, list) and len(places) > CROWDED else ():
                folder = self.paths[place].rpartition("/")[0].rpartition("/")[2]
                found.setdefault(f"{folder}/{stem}", []).append(place)
        return found

    def of_stem(self, stem: str, folder: str = "") -> list[int]:
        """The images of this stem; where there are many, those in a folder of this name, if there
        are such.
        """
        places = self.by_stem.get(stem, [])
        if isinstance(places, int):
            return [places]
        if len(places) <= CROWDED:
            return places
        return self.by_folder.get(f"{folder}/{stem}") or places[: 4 * CROWDED]  # more is as unclear

    def named(self, value: str) -> list[int]:
        """The images that the value names: by as much of its path as fits, by its suffix where one has it, by
        its case.
        """
        wanted = clean(value)
        folded = wanted.casefold()
        folder, _, name = folded.rpartition("/")
        bare, above = without_suffix(name), folder.rpartition("/")[2]
        places = self.of_stem(name, above) or (self.of_stem(bare, above) if bare != name else [])
        if len(places) > 1 and folder:
            lengths = [common_tail(self.paths[place], folded) for place in places]
            longest = max(lengths)
            places = [place for place, length in zip(places, lengths) if length == longest]
        if len(places) > 1 and bare != name:
            places = [place for place in places if self.paths[place].endswith(name)] or places
        if len(places) > 1:
            last = posixpath.basename(wanted)
            places = [place for place in places if is_last(clean(self.files[place]), last)] or places
        return places

    def at(self, path: str, *, any_suffix: bool, head: str | None = None) -> list[int]:
        """The images at exactly this path, of any suffix or its own; with a head, anywhere below it."""
        wanted = clean(path)
        folded = wanted.casefold()
        folder, _, name = folded.rpartition("/")
        above = (folder or (head or "").casefold().rstrip("/")).rpartition("/")[2]
        places = self.of_stem(name, above)
        bare = without_suffix(name)
        if bare != name:
            places = [*places, *(place for place in self.of_stem(bare, above) if place not in places)]
        ends = {folded, without_suffix(folded)} if any_suffix else {folded}
        if head is None and any_suffix and len(places) == 1:  # usual
            if self.paths[places[0]].rpartition(".")[0] in ends:
                return places
        start = (head or "").casefold()

        def fits(path: str) -> bool:
            own = {path, posixpath.splitext(path)[0], without_suffix(path)} if any_suffix else {path}
            if head is None:
                return not ends.isdisjoint(own)
            return path.startswith(start) and any(
                f"/{one}".endswith(f"/{end}") for one in own for end in ends
            )

        fitting = [place for place in places if fits(self.paths[place])]
        if len(fitting) < 2:
            return fitting
        # a.jpg and A.jpg; or a.jpg and a.png, where a.jpg is wanted
        exact = [place for place in fitting if f"/{clean(self.files[place])}".endswith(f"/{wanted}")]
        last = posixpath.basename(wanted)
        return exact or [place for place in fitting if is_last(clean(self.files[place]), last)] or fitting


def stem_of(name: str) -> str:
    """The name without its last suffix, whatever that is."""
    return name.rpartition(".")[0] or name


def is_last(path: str, name: str) -> bool:
    """Is this the path's last part, with or without its suffix, in this case?"""
    last = posixpath.basename(path)
    return name in (last, posixpath.splitext(last)[0])


def common_tail(path: str, other: str) -> int:
    """How many parts both paths share at their ends; suffixes may differ."""
    ends = zip(reversed(posixpath.splitext(path)[0].split("/")), reversed(without_suffix(other).split("/")))
    length = 0
    for one, its in ends:
        if one != its:
            break
        length += 1
    return length


def packed(files: Iterable[str]) -> list[str]:
    return [file for file in files if file.lower().endswith(ARCHIVES)]
