"""SET and MACHINE: settings as text, with all problems told at once."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from src.config import ALIASES, Config, Machine


def nearest(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    close = (
        [ALIASES[name.lower()]] if ALIASES.get(name.lower()) in names else get_close_matches(name, names, 1)
    )
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"


def explain(error: ValidationError, given: Mapping[str, Any] = {}) -> list[str]:
    """A line per wrong setting of a Config or Machine: what was given and what is allowed."""
    schema = TypeAdapter({"Config": Config, "Machine": Machine}[error.title]).json_schema()["properties"]
    wrong = {str(problem["loc"][0]): problem["input"] for problem in error.errors()}

    def rule(name: str) -> str:
        return (
            f"takes {allowed(schema[name])}"
            if name in schema
            else f"no such setting; {nearest(name, list(schema))}"
        )

    return [f"{name}={given.get(name, value)}: {rule(name)}" for name, value in wrong.items()]


def allowed(schema: Mapping[str, Any]) -> str:
    """A field's json schema in words."""
    if "anyOf" in schema:
        return ", or ".join(allowed(choice) for choice in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return "one of " + ", ".join(schema["enum"]) if "enum" in schema else schema["const"]
    kinds = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "a name",
        "array": "a,b,c",
    }
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return ", ".join(
        [kinds[schema["type"]], *(f"{words} {schema[key]}" for key, words in limits.items() if key in schema)]
    )


def parse_set(text: str, of: type = Config) -> dict[str, Any]:
    """{"epochs": 9, "trainable": ("a", "b")} of "epochs=9 trainable=a,b". Raises one ValueError for all
    problems.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(of)}
    variable, other, elsewhere = ("SET", "MACHINE", Machine) if of is Config else ("MACHINE", "SET", Config)
    given: dict[str, str] = {}
    problems = []
    for pair in text.split():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            problems.append(f"{pair}: write setting=value, without spaces")
        elif name in [field.name for field in dataclasses.fields(elsewhere)]:
            problems.append(f'{pair}: write {other}="{pair}"')
        elif name not in types:
            problems.append(f"{pair}: there is no setting {name}; {nearest(name, list(types))}")
        elif name in given:
            problems.append(f"{pair}: {name} is given twice")
        elif re.search(r",\w+=", value):
            problems.append(f"{pair}: separate settings by spaces")
        elif "," in value and "tuple" not in types[name]:
            problems.append(f"{pair}: {name} takes one value, not a list")
        else:
            given[name] = value
    try:
        checked = of(**given)
    except ValidationError as error:
        problems += explain(error, given)
    if problems:
        if (tidied := tidy(text)) != text and is_valid(tidied, of):
            problems = [f'{text!r} is not how settings are written: write {variable}="{tidied}"']
        raise ValueError(f"{variable}: " + "\n     ".join(problems))
    return {name: getattr(checked, name) for name in given}


def tidy(text: str) -> str:
    """Settings as they are to be written, of settings as people write them: "epochs = 3, lr: 1e-3;" or
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
