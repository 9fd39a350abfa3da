"""Images come out upright, RGB and square, whatever goes in; what can't be read is named."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from src.data import contents, images


def records(folder, **pictures):
    for name, picture in pictures.items():
        picture.save(folder / name.replace("_", "."))
    return [
        {"id": name, "path": name.replace("_", "."), "file": str(folder / name.replace("_", "."))}
        for name in pictures
    ]


def decode(folder, rows, size=16, **how):
    array, bad = images.decode(
        rows, size, folder / "cache" / "x.npy", workers=2, **{"max_pixels": 10**8} | how
    )
    assert not bad or how.get("tolerant")
    return array


def test_modes_and_sizes_all_become_square_rgb(tmp_path):
    ramp = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 20
    rows = records(
        tmp_path,
        grey_png=Image.new("L", (60, 40), 100),
        colour_jpg=Image.new("RGB", (60, 40), (200, 10, 10)),
        cmyk_jpg=Image.new("CMYK", (30, 30), (0, 255, 255, 0)),
        palette_png=Image.new("RGB", (9, 9), (0, 255, 0)).convert("P"),
        alpha_png=Image.new("RGBA", (9, 9), (0, 0, 255, 255)),
        deep_png=Image.fromarray(ramp),
        one_png=Image.new("RGB", (1, 1)),
    )
    found = decode(tmp_path, rows).values
    assert found.shape == (7, 16, 16, 3) and found.dtype == np.uint8
    assert abs(int(found[0].mean()) - 100) <= 1
    assert found[1][..., 0].min() > 180 and found[1][..., 1].max() < 40
    assert found[2][..., 0].mean() > 200 and found[2][..., 1].mean() < 60
    assert 40 < found[5].mean() < 220, "16-bit grey must not be clipped to white"


def test_a_rotated_photograph_is_brought_upright(tmp_path):
    picture = Image.fromarray(
        np.concatenate([np.zeros((20, 40, 3), np.uint8), np.full((20, 40, 3), 255, np.uint8)])
    )
    exif = picture.getexif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "a.jpg", exif=exif)
    (found,) = decode(tmp_path, [{"id": "a", "path": "a.jpg", "file": str(tmp_path / "a.jpg")}]).values
    assert found[:6].mean() > 200 and found[-6:].mean() < 50


def test_every_unreadable_image_is_named_at_once_and_nothing_is_left(tmp_path):
    rows = records(
        tmp_path,
        good_png=Image.new("RGB", (9, 9)),
        cut_jpg=Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)),
    )
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    (tmp_path / "empty.jpg").write_bytes(b"")
    rows.append({"id": "e", "path": "empty.jpg", "file": str(tmp_path / "empty.jpg")})
    with pytest.raises(ValueError, match="(?s)2 of 3 images can't be read.*cut.jpg.*empty.jpg"):
        decode(tmp_path, rows)
    assert not list((tmp_path / "cache").iterdir())


def test_an_image_above_max_pixels_is_refused(tmp_path):
    rows = records(tmp_path, big_png=Image.new("L", (100, 100)))
    with pytest.raises(ValueError, match="(?s)big.png.*max_pixels"):
        decode(tmp_path, rows, max_pixels=1000)


def test_the_array_is_made_once(tmp_path):
    rows = records(tmp_path, a_png=Image.new("RGB", (9, 9), (9, 9, 9)))
    first = decode(tmp_path, rows)
    os.remove(tmp_path / "a.png")
    assert np.array_equal(first.values, decode(tmp_path, rows).values)


def test_an_own_reader_stands_in_for_the_default_one(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    rows = [{"id": "a", "path": "a.npy", "file": str(tmp_path / "a.npy")}]
    found = decode(tmp_path, rows, read_image=lambda record: np.full((5, 7), 33, np.uint8)).values
    assert (found == 33).all()


def test_a_reader_that_gives_floats_is_told_so(tmp_path):
    rows = [{"id": "a", "path": "a.npy", "file": "a.npy"}]
    with pytest.raises(ValueError, match="uint8"):
        decode(tmp_path, rows, read_image=lambda record: np.zeros((5, 7, 3)))


def test_content_hashes_are_remembered_and_follow_the_bytes(tmp_path, monkeypatch):
    file, memory = tmp_path / "a.bin", tmp_path / "memory.json"
    file.write_bytes(b"one")
    (first,) = contents.content_hashes([file], memory)
    assert contents.content_hashes([file], memory) == [first] and memory.exists()
    file.write_bytes(b"three")
    assert contents.content_hashes([file], memory) != [first]
    files = [tmp_path / f"{number}.bin" for number in range(50)]
    for number, one in enumerate(files):
        one.write_bytes(bytes([number // 2]))
    new = contents.content_hashes([*files, tmp_path / "none", files[3]], memory)
    assert len({*new[:50]}) == 25 and new[50] == f"unreadable {tmp_path / 'none'}" and new[51] == new[3]
    reads = []
    monkeypatch.setattr(contents, "digest", lambda name: reads.append(name) or "0" * 32)
    assert contents.content_hashes(files[::-1], memory) == new[:50][::-1] and not reads
    files[7].write_bytes(b"another")
    assert contents.content_hashes(files, memory)[7] == "0" * 32 and reads == [str(files[7])]


def broken(folder):
    """Every way in which a file under an image's name can be no image, and ones that only look so."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8))
    for name, suffix in (
        ("whole.jpg", "JPEG"),
        ("png_named.jpg", "PNG"),
        ("a b'c\"d.png", "PNG"),
        ("größe.png", "PNG"),
        ("gif.gif", "GIF"),
        ("bmp.bmp", "BMP"),
        ("webp.webp", "WEBP"),
        ("tiff.tif", "TIFF"),
    ):
        noise.save(folder / name, format=suffix)
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("1", (20, 20), 1).save(folder / "bits.png")
    Image.new("LA", (20, 20), (9, 9)).save(folder / "grey_alpha.png")
    Image.new("P", (20, 20)).save(folder / "palette.png", transparency=0)
    Image.new("CMYK", (20, 20)).save(folder / "cmyk.jpg")
    Image.new("I;16", (20, 20), 40000).save(folder / "deep.png")
    Image.new("F", (20, 20), 0.5).save(folder / "float.tif")
    noise.save(folder / "animated.gif", save_all=True, append_images=[noise.rotate(90)])
    Image.new("RGB", (3000, 2)).save(folder / "narrow.png")
    good = sorted(p.name for p in folder.iterdir())
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "garbage.png").write_bytes(b"\x00\xff" * 500)
    (folder / "text.jpg").write_text("<html>403 forbidden</html>")
    for name in ("whole.jpg", "größe.png", "gif.gif", "bmp.bmp", "webp.webp", "tiff.tif"):
        (folder / f"cut_{name}").write_bytes(
            (folder / name).read_bytes()[: len((folder / name).read_bytes()) // 2]
        )
    (folder / "folder.jpg").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "nowhere.png").symlink_to("gone.png")
    Image.new("L", (1000, 1000)).save(folder / "bomb.png")
    return good, sorted(p.name for p in folder.iterdir() if p.name not in good)


def test_each_kind_of_bad_image_is_named_and_each_odd_one_is_read(tmp_path):
    good, bad = broken(tmp_path)
    rows = [{"id": name, "path": name, "file": str(tmp_path / name)} for name in good + bad]
    array, unreadable = images.decode(
        rows, 12, tmp_path / "cache" / "x.npy", tolerant=True, workers=2, max_pixels=900_000
    )
    assert sorted(unreadable) == bad and len(good) == 17 and len(bad) == 13
    assert (
        array.values.shape == (30, 12, 12, 3)
        and (array.values[: len(good)].reshape(len(good), -1).std(axis=1) >= 0).all()
    )
    hashes = contents.content_hashes(
        [tmp_path / name for name in ("folder.jpg", "loop.png", "nowhere.png")], tmp_path / "memory.json"
    )
    assert len(set(hashes)) == 3, "what can't be read is no copy of anything"


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(file) run showpage\n%%EOF\n"


def test_no_picture_starts_another_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    started = []
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *args, **how: started.append(args) or Image.new("RGB", (8, 8))
    )
    (tmp_path / "a.png").write_bytes(EPS)
    rows = [{"id": "a", "path": "a.png", "file": str(tmp_path / "a.png")}]
    with pytest.raises(ValueError, match="1 of 1 images can't be read:\n  a.png: cannot identify image file"):
        decode(tmp_path, rows)
    assert not started


READ_PIPES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
import numpy as np
from pathlib import Path
from PIL import Image
from src.data import contents, images
names, folder = ("pipe.png", "zero.png"), Path(sys.argv[1])
rows = [{"id": name, "path": name, "file": str(folder / name)} for name in names]
for reader in (None, lambda record: np.asarray(Image.open(record["file"]))):
    array, bad = images.decode(rows, 8, folder / f"{reader is None}.npy", tolerant=True, workers=2, max_pixels=10**8, read_image=reader)
    assert bad == {name: f"{name}: the file is a pipe or a device, not a file" for name in names}, bad
hashes = contents.content_hashes([folder / name for name in names], folder / "memory.json")
assert hashes == [f"unreadable {folder / name}" for name in names], hashes
"""


def test_a_pipe_or_a_device_in_the_place_of_an_image_is_named_and_never_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    # else it waits for ever
    done = subprocess.run(
        [sys.executable, "-c", READ_PIPES, str(tmp_path)], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
