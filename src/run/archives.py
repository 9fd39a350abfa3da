"""Archives of a competition, unpacked beside themselves. They come from strangers: nothing is written outside
the folder, nothing fills the disk, no code of theirs is put where the kit would run it.
"""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from src.run.files import naming

OWN_CODE = "competition.py"  # beside a competition's files; src/competitions.py runs it
MOST_FILES = 5_000_000  # of an archive and those inside it
MOST_DEEP = 3  # archives around an archive
# bytes that an archive may take when unpacked: GROWS times its size, and LEAST. Text grows tenfold, masks a
# hundredfold
GROWS, LEAST = 200, 10**9
LONGEST_HEADER = 1 << 20  # bytes of a tar's special header, which is read into memory: a name has no MB


class Refused(ValueError):
    """An archive that is not unpacked, and why."""


class Room:
    """What an archive and those inside it may take together. Counted while they are written, since the sizes
    in their headers may be false.
    """

    def __init__(self, archive: Path, num_bytes: int, num_files: int) -> None:
        self.archive, self.num_bytes, self.num_files = archive, num_bytes, num_files
        self.bytes_left, self.files_left = num_bytes, num_files

    def take(self, num_bytes: int = 0, num_files: int = 0) -> None:
        """Raises Refused where there is no room for so much more."""
        self.bytes_left -= num_bytes
        self.files_left -= num_files
        if self.bytes_left < 0 or self.files_left < 0:
            most = f"{self.num_bytes / 1e9:.1f} GB" if self.bytes_left < 0 else f"{self.num_files:,} files"
            raise Refused(
                f"{self.archive} is not unpacked: with the archives inside it needs more than the {most}"
                f" there is room for (the disk's, or {GROWS} times its own size and a GB). Where you trust"
                " it, unpack it yourself"
            )


def unpack(archive: Path, folder: Path, room: Room | None = None, depth: int = 0) -> None:
    """Extract a zip or tar, and the zips inside it, into a folder that isn't there yet: whole or not at all.

    room: what the outer archive has left; depth: how many archives this one lies in. Raises ValueError for
    what can't be unpacked or must not be.
    """
    if folder.exists():
        raise Refused(f"{folder} exists already: move it away to unpack {archive.name} again")
    if not archive.is_file():
        raise Refused(f"{archive} does not exist")
    if depth > MOST_DEEP:
        raise Refused(f"{archive} lies inside more than {MOST_DEEP} archives: unpack it yourself")
    check_writable(folder.parent, archive)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with naming(part):
            part.mkdir(parents=True)
        free, grown = shutil.disk_usage(part).free, GROWS * archive.stat().st_size + LEAST
        room = room or Room(archive, min(free, grown), MOST_FILES)
        extract(archive, part, room)
        unpack_all(part, room, depth)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not depth:
        print(f"{archive} -> {folder}")


def unpack_all(folder: Path, room: Room | None = None, depth: int = -1) -> None:
    """Unpack each train.zip in a folder to train/, each train.csv.zip to train.csv, where that isn't there
    yet: so Kaggle packs some competitions.
    """
    for archive in sorted(folder.glob("[!.]*.zip")):
        if (target := archive.with_suffix("")).exists() or harmless(target, archive) != target:
            continue
        check_writable(folder, archive)
        part = target.with_name(target.name + ".unpacked")
        shutil.rmtree(part, ignore_errors=True)
        unpack(archive, part, room, depth + 1)
        # train.zip usually holds train/, train.csv.zip a train.csv
        inner = part / target.name
        os.replace(inner if inner.exists() else part, target)
        shutil.rmtree(part, ignore_errors=True)


def check_writable(folder: Path, archive: Path) -> None:
    """Raises Refused where a folder, if it is there, can't be written, as /kaggle/input."""
    if folder.exists() and not os.access(folder, os.W_OK):
        raise Refused(
            f"{archive} is packed and {folder} can't be written: unpack it in a copy of that folder, and give"
            " INPUTS=its place"
        )


def extract(archive: Path, folder: Path, room: Room) -> None:
    """Write every member of an archive below a folder. Raises ValueError, and leaves what was
    written before.
    """
    num_files = 0
    try:
        for name, source in members(archive):
            target = harmless(folder / safe(name, archive), archive)
            room.take(num_files=1)
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            num_files += 1
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                while block := source.read(1 << 20):
                    room.take(len(block))
                    file.write(block)
    except Refused:
        raise
    except Exception as error:  # zipfile, tarfile and their decompressors raise a dozen kinds
        raise ValueError(problem_of(error, archive)) from error
    if not num_files:
        raise Refused(f"{archive} holds no file: download it again")


def problem_of(error: Exception, archive: Path) -> str:
    """Why an archive can't be unpacked: the disk, a method that Python lacks, or damage."""
    is_of_disk = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    if is_of_disk or getattr(error, "filename", None):
        return f"{archive} can't be unpacked: {error}"
    if isinstance(error, RuntimeError):  # a password, or another compression such as Deflate64
        return (
            f"{archive} can't be unpacked here ({error}): `7z x {archive.name}` may, into a folder of its"
            " name"
        )
    return f"{archive} is damaged ({error or type(error).__name__}): download it again"


def members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """(name, file to read) of each member; (name, None) of a folder. Raises Refused for a link or
    a device.
    """
    special = "{} is not unpacked: {!r} is a link or a device, and may lead anywhere"
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise Refused(special.format(archive, entry.filename))
                with contextlib.nullcontext() if entry.is_dir() else opened.open(entry) as source:
                    yield entry.filename, source
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive, tarinfo=Member) as tar:
            while info := tar.next():
                if not (info.isfile() or info.isdir()):
                    raise Refused(special.format(archive, info.name))
                yield info.name, tar.extractfile(info)
                tar.members.clear()  # type: ignore[attr-defined]      # tarfile keeps every one that it has read
            # the checksum of a tar.gz stands at its end
            while tar.fileobj and tar.fileobj.read(1 << 20):
                pass
    else:
        raise Refused(f"{archive} is neither a zip nor a tar archive; is the download whole?")


class Member(tarfile.TarInfo):
    """A member of a tar. Where a header is damaged tarfile ends quietly; here that is an error."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]     # the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset:,}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not (self.isfile() or self.isdir()) and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def safe(name: str, archive: Path) -> str:
    """A member's name, if it stays within the folder that it is joined to. Raises Refused for another."""
    name = name.replace("\\", "/")  # as some programs for Windows pack
    first, *others = name.split("/")
    if not first or ".." in (first, *others) or ":" in first:
        raise Refused(f"{archive} is not unpacked: {name!r} leads out of the folder")
    return name


def harmless(path: Path, archive: Path) -> Path:
    """The place of a member: another for a competition.py, which the kit would run as the user's own code."""
    if path.name.lower() != OWN_CODE:
        return path
    print(
        f"warning: {archive} brings a {path.name}, which would be run: read it, and rename it if it is yours",
        file=sys.stderr,
    )
    return path.with_name(f"{path.name}.from-archive")
