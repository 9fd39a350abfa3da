"""Which code and which packages made a result."""

import platform
import subprocess

from src.run.sources import SRC

VERSIONS = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "adamp",
    "scikit-learn",
    "pandas",
    "numpy",
    "pillow",
)


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}


def git(*args: str) -> str:
    """What git says in the kit's folder; "" without git, repository or commit."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=SRC.parent, capture_output=True, text=True, errors="replace", check=True
        )
        return done.stdout.rstrip("\n")
    except (OSError, subprocess.CalledProcessError):
        return ""


def commit() -> str:
    """The short commit, with "-dirty" where src differs from it, or "no git"."""
    head = git("rev-parse", "--short", "HEAD")
    return (head + "-dirty" if git("status", "--porcelain", "--", "src") else head) or "no git"


def diff() -> str:
    """What src holds beyond the commit: edits, then whole files that git does not know."""
    new = [
        name
        for name in git("ls-files", "--others", "--exclude-standard", "--", "src").splitlines()
        if name.endswith(".py")
    ]
    return "\n".join(
        [
            git("diff", "HEAD", "--", "src"),
            *(f"new file {name}\n{(SRC.parent / name).read_text()}" for name in new),
        ]
    ).strip()
