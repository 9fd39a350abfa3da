"""Which code and which packages made a result."""

import platform
import subprocess
from importlib.metadata import version

from src.run.sources import ROOT

PACKAGES = "torch torchvision timm accelerate adamp scikit-learn pandas numpy pillow".split()


def versions() -> dict[str, str]:
    """Of Python and of the packages that can change a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git(*args: str) -> str:
    """The output of git in the kit's folder; "" without git, repository or commit."""
    command = ["git", *args]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.rstrip("\n")


def commit() -> str:
    """The short commit, with "-dirty" where src differs from it, or "no git"."""
    head = git("rev-parse", "--short", "HEAD")
    return (head + "-dirty" if git("status", "--porcelain", "--", "src") else head) or "no git"


def diff() -> str:
    """What src holds beyond the commit: edits, then whole files that git does not know."""
    parts = [git("diff", "HEAD", "--", "src")]
    for name in git("ls-files", "--others", "--exclude-standard", "--", "src").splitlines():
        if name.endswith(".py"):
            parts.append(f"new file {name}\n{(ROOT / name).read_text()}")
    return "\n".join(parts).strip()
