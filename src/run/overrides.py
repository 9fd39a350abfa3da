"""SET and MACHINE: settings as text, with all problems reported at once."""

import dataclasses
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError

from src.config import ALIASES, Config, Machine

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a name",
    "array": "a,b,c",
}
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}

# settings that others have and this kit has not, with the reason
DISTILLATION = (
    "distillation from a run's out-of-fold predictions leaks: the teachers of a fold's training images have"
    ' seen its held-out labels; see "Pseudo-labels" in docs/guide.md for what does not'
)
LEFT_OUT = dict.fromkeys(("distill", "distillation", "teacher"), DISTILLATION)


def nearest(name: str, names: list[str]) -> str:
    """What may have been meant, or all that there is."""
    alias = ALIASES.get(name.lower())
    close = [alias] if alias in names else get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"


def explain(error: ValidationError, texts: Mapping[str, str] = {}) -> list[str]:
    """A line per wrong setting of a Config or Machine: what was given (texts: as it was typed), what is
    allowed.
    """
    schema = TypeAdapter({"Config": Config, "Machine": Machine}[error.title]).json_schema()["properties"]
    lines = {}
    for problem in error.errors():
        name = str(problem["loc"][0])
        rule = (
            f"takes {allowed(schema[name])}"
            if name in schema
            else f"no such setting; {nearest(name, list(schema))}"
        )
        lines[name] = f"{name}={texts.get(name, problem['input'])}: {rule}"
    return list(lines.values())


def allowed(schema: Mapping[str, Any]) -> str:
    """A field's json schema in words."""
    if "anyOf" in schema:
        return ", or ".join(allowed(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    limits = [f"{words} {schema[key]}" for key, words in LIMITS.items() if key in schema]
    return ", ".join([KINDS[schema["type"]], *limits])


def parse_set(text: str, of: type = Config) -> dict[str, Any]:
    """{"epochs": 9, "trainable": ("a", "b")} of "epochs=9 trainable=a,b". Raises one ValueError for all
    problems.
    """
    texts, problems = split_pairs(text, of)
    try:
        checked = of(**texts)
    except ValidationError as error:
        problems += explain(error, texts)
    if problems:
        variable = variable_of(of)
        if (tidied := tidy(text)) != text and is_valid(tidied, of):
            problems = [f'{text!r} is not how settings are written: write {variable}="{tidied}"']
        raise ValueError(f"{variable}: " + "\n     ".join(problems))
    return {name: getattr(checked, name) for name in texts}


def split_pairs(text: str, of: type) -> tuple[dict[str, str], list[str]]:
    """(setting -> its value as text, what is wrong with the others)"""
    types = {field.name: str(field.type) for field in dataclasses.fields(of)}
    other = Machine if of is Config else Config
    elsewhere = {field.name for field in dataclasses.fields(other)}
    texts: dict[str, str] = {}
    problems = []
    for pair in text.split():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            problems.append(f"{pair}: write setting=value, without spaces")
        elif name in elsewhere:
            problems.append(f'{pair}: write {variable_of(other)}="{pair}"')
        elif name.lower() in LEFT_OUT:
            problems.append(f"{pair}: {LEFT_OUT[name.lower()]}")
        elif name not in types:
            problems.append(f"{pair}: there is no setting {name}; {nearest(name, list(types))}")
        elif name in texts:
            problems.append(f"{pair}: {name} is given twice")
        elif re.search(r",\w+=", value):
            problems.append(f"{pair}: separate settings by spaces")
        elif "," in value and "tuple" not in types[name]:
            problems.append(f"{pair}: {name} takes one value, not a list")
        else:
            texts[name] = value
    return texts, problems


def variable_of(kind: type) -> str:
    return "SET" if kind is Config else "MACHINE"


def tidy(text: str) -> str:
    """Settings as they are to be written, from how people write them: "epochs = 3, lr: 1e-3;" or
    "--epochs=3".
    """
    text = re.sub(r"\s*[=:]\s*", "=", text.replace('"', "").replace("'", ""))
    pairs = re.sub(r"[\s,;]+(?:--?)?(?=\w+=)", " ", f" {text.strip(' ,;')}")
    return pairs.strip()


def is_valid(text: str, of: type) -> bool:
    try:
        return bool(parse_set(text, of))
    except ValueError:
        return False
