"""The facts of a competition as text: what goes into hashes, and the definition that is printed
to be pasted.
"""

import re
from dataclasses import fields
from functools import partial
from typing import Any

from src.competition.facts import Competition
from src.run import hashing

LONGEST = 2000  # characters of a value that is printed
WIDTH = 118  # characters of a printed line


def model_facts(competition: Competition) -> dict:
    """The facts that can change a model, for its hash: neither paths nor the metric are among them."""
    read_image = competition.read_image
    facts: dict[str, object] = {
        "task": competition.task,
        "outputs": competition.outputs,
        "features": competition.features,
        "flips": competition.flips,
        "read_image": hashing.name_of(read_image) if read_image else "",
    }
    if competition.task == "bounded":
        facts["bounds"] = competition.bounds
    if competition.task == "ordinal":
        facts["classes"] = competition.classes
    return facts


def stated_facts(competition: Competition) -> dict[str, object]:
    """The fields that differ from their defaults, by name."""
    values = {f.name: getattr(competition, f.name) for f in fields(Competition) if f.compare}
    return {name: value for name, value in values.items() if value != getattr(Competition, name)}


def as_json(competition: Competition) -> dict[str, dict]:
    """The facts as json can hold them, and the names of those that are functions: enough to predict a new
    test set where the training files are not.
    """
    facts = stated_facts(competition)
    functions = {name: as_code(value) for name, value in facts.items() if callable(value)}
    values = {name: value for name, value in facts.items() if name not in functions}
    return {"values": values, "functions": functions}


def from_json(facts: dict[str, dict], stated: Competition) -> Competition:
    """The competition that as_json has written down; its functions are those of `stated`. Raises ValueError
    where one is missing there.
    """
    missing = [name for name in facts["functions"] if not callable(getattr(stated, name))]
    if missing:
        raise ValueError(
            f"the run's competition has a function of its own for {', '.join(missing)}, which is not here:"
            " put its competition.py beside the run's config.json, or its function into src/competitions.py"
        )
    facts_by_name: dict[str, Any] = {name: getattr(stated, name) for name in facts["functions"]}
    for name, value in facts["values"].items():
        facts_by_name[name] = tuple(value) if isinstance(value, list) else value  # json has no tuples
    return Competition(**facts_by_name)


def as_python(competition: Competition) -> str:
    """The definition as Python, for COMPETITIONS."""
    function = re.sub(r"\W|^(?=\d)", "_", competition.name.lower())
    lines = [f"def {function}() -> Competition:", "    return Competition("]
    too_long, line = [], " " * 7
    for name, value in stated_facts(competition).items():
        if len(repr(value)) > LONGEST:
            too_long.append(f"        # {name}: {len(value)}, as the files have them")  # type: ignore[arg-type]
            continue
        fact = f"{name}={as_code(value)},"
        if line.strip() and len(line) + 1 + len(fact) > WIDTH:
            lines.append(line)
            line = " " * 7
        line += f" {fact}"
    if line.strip():
        lines.append(line)
    return "\n".join([*lines, *too_long, "    )"])


def as_code(value: object) -> str:
    """A field's value as Python, a function by its name."""
    if isinstance(value, partial):
        words = [as_code(word) for word in (value.func, *value.args)]
        words += [f"{name}={as_code(word)}" for name, word in value.keywords.items()]
        return f"partial({', '.join(words)})"
    return hashing.name_of(value) if callable(value) else repr(value)
