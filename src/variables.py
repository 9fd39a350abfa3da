"""What was meant by a variable that make does not have. Needs the standard library only: make asks before
there is an environment.

Run: python -m src.variables COMP EXP ... -- comp=x lr=1e-3 SET=epochs=3        the variables, then what was
given; prints one line
"""

import ast
import sys
from difflib import get_close_matches
from pathlib import Path

# the classes of config.py
PLACES = dict.fromkeys(("Split", "Train", "Predict", "Submit"), "SET") | {"Machine": "MACHINE"}


def setting_names(source: str) -> dict[str, str]:
    """{"lr": "SET", "workers": "MACHINE"} of the source of config.py: each setting, or another name of one,
    and where it goes.
    """
    names: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name in PLACES:
            fields = [
                field.target.id
                for field in node.body
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            ]
            names |= dict.fromkeys(fields, PLACES[node.name])
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "ALIASES"
        ):
            names = {alias: names[setting] for alias, setting in ast.literal_eval(node.value).items()} | names
    return names


def explain(variables: list[str], values: dict[str, str], settings: dict[str, str]) -> str:
    """One line: for a setting the whole SET="..." to type, for another unknown name the nearest variable."""
    texts = {variable: values.get(variable, "") for variable in ("SET", "MACHINE")}
    problems, misplaced = [], {}
    for name, value in values.items():
        if name in variables:
            continue
        same = [variable for variable in variables if variable == name.upper()]
        near = same or get_close_matches(name.upper(), variables, n=1, cutoff=0.4)
        if name in settings and not same:
            misplaced[name] = settings[name]
            texts[settings[name]] += f" {name}={value}"
        else:
            hint = f"did you mean {near[0]}={value}?" if near else f"choose from {', '.join(variables)}"
            problems.append(f"there is no variable {name}; {hint}")
    for place in dict.fromkeys(misplaced.values()):
        names = [name for name in misplaced if misplaced[name] == place]
        verb = "is a setting" if len(names) == 1 else "are settings"
        problems.append(
            f'{", ".join(names)} {verb}: put all settings between quotes, {place}="{texts[place].strip()}"'
        )
    return "; ".join(problems)


def main() -> None:
    end = sys.argv.index("--")
    values = dict(word.partition("=")[::2] for word in sys.argv[end + 1 :])
    print(
        explain(
            sys.argv[1:end],
            values,
            setting_names(Path(__file__).with_name("config.py").read_text(encoding="utf-8")),
        )
    )


if __name__ == "__main__":
    main()
