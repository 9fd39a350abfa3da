"""In a bundle, before its first use: are its files whole, and which packages are missing or too old here?
Those come from the wheels beside this file, without a network. Stands alone: it is copied into the bundle.

Run: python install.py
"""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent


def damaged(manifest: dict) -> list[str]:
    """The files that are missing, or not what was written."""
    found = []
    for name, sha in manifest["files"].items():
        path = HERE / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha:
            found.append(name)
    return found


def unmet(requirements: list[str]) -> list[str]:
    """The names of the packages that are not here, or in another version than src needs."""
    names = []
    for requirement in map(Requirement, requirements):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        if not version or not requirement.specifier.contains(version, prereleases=True):
            names.append(requirement.name)
    return names


def main() -> None:
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    if files := damaged(manifest):
        sys.exit(f"error: the bundle is not whole: {', '.join(files[:5])}; upload it again")
    names = unmet(manifest["requirements"])
    print(f"bundle of {manifest['run']}: {len(manifest['files'])} files, whole")
    if not names:
        return
    brought = [name for name in names if name in manifest["wheels"]]
    if brought != names:
        others = sorted({*names} - {*brought})
        sys.exit(f"error: {', '.join(others)} is missing or too old here, and the bundle has no wheel of it")
    print(f"installing {', '.join(names)} from the bundle's wheels")
    # what these need in turn is here, or among the wheels
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    wheels = [f"{name}=={manifest['wheels'][name]}" for name in names]
    subprocess.run([*pip, "--find-links", str(HERE / "wheels"), *wheels], check=True)


if __name__ == "__main__":
    main()
