"""Values as they are written in Python's source, laid out for reading.

Knows quoting and lines; not what the code is about.
"""

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 88


def as_python(text: str, *, wrapped: bool = False) -> str:
    """A text as a literal; what cannot be seen is escaped, so that nothing hides in it.

    Args:
        wrapped: put each line of the text on a line of its own.
    """
    lines = text.splitlines(keepends=True) if wrapped else [text]
    if len(lines) < 2:
        return _quoted(text)
    return "(\n" + "".join(f"    {_quoted(line)}\n" for line in lines) + ")"


def _quoted(text: str) -> str:
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else repr(character)[1:-1]


def as_list(values: Sequence[str] | Sequence[int]) -> str:
    """A list, over several lines where it is long."""
    items = [as_python(v) if isinstance(v, str) else str(v) for v in values]
    line = "[" + ", ".join(items) + "]"
    if len(line) + len("begins_with = ") <= WIDTH:
        return line
    if any(isinstance(v, str) for v in values):
        return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    body = textwrap.fill(
        ", ".join(items) + ",", WIDTH, initial_indent="    ", subsequent_indent="    "
    )
    return f"[\n{body}\n]"


def call(function: str, arguments: Iterable[str]) -> list[str]:
    """The lines of a call; an argument may have lines, and a comment behind its comma."""
    given = list(arguments)
    line = f"{function}({', '.join(given)})"
    if len(line) <= WIDTH and "#" not in line and "\n" not in line:
        return [line]
    lines = [f"{function}("]
    for argument in given:
        comma = "" if ",  #" in argument else ","
        lines += [f"    {part}" for part in f"{argument}{comma}".split("\n")]
    return [*lines, ")"]


def import_line(module: str, names: Sequence[str]) -> list[str]:
    """`from module import ...`, one name a line where they are many."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]
