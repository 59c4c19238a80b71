"""How small the code is: lengths of functions and files of service/, against the house's limits."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

MAX_MEDIAN_LINES = 8
MAX_P90_LINES = 25
MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Lines of one function or file, and where it is."""

    place: str
    lines: int


def function_lengths(path: Path) -> Iterator[Length]:
    """Measure each function, from its `def` to its last line, docstring included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Length(place=f"{path}:{node.lineno} {node.name}", lines=lines)


def faults(functions: list[Length], files: list[Length]) -> list[str]:
    """Name what is too long."""
    lines = [each.lines for each in functions]
    found = []
    if median(lines) > MAX_MEDIAN_LINES:
        found.append(f"the median function is longer than {MAX_MEDIAN_LINES} lines")
    if _p90(functions) > MAX_P90_LINES:
        found.append(f"a tenth of the functions is longer than {MAX_P90_LINES} lines")
    limits = ((functions, MAX_FUNCTION_LINES), (files, MAX_FILE_LINES))
    for lengths, limit in limits:
        found += [
            f"{it.place}: {it.lines} lines, {limit} at most" for it in lengths if it.lines > limit
        ]
    return found


def _p90(lengths: list[Length]) -> float:
    return quantiles((each.lines for each in lengths), n=10, method="inclusive")[-1]


def main() -> int:
    """Print the figures, and what is too long."""
    paths = sorted(Path("service").rglob("*.py"))
    functions = [each for path in paths for each in function_lengths(path)]
    files = [Length(place=str(path), lines=len(path.read_text().splitlines())) for path in paths]
    print(
        f"structure: {len(functions)} functions, lines: median "
        f"{median(each.lines for each in functions):g}, p90 {_p90(functions):g}, "
        f"max {max(each.lines for each in functions)}; {len(files)} files, "
        f"max {max(each.lines for each in files)} lines"
    )
    found = faults(functions, files)
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
