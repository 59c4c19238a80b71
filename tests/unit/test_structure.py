from pathlib import Path

from scripts.structure import MAX_FUNCTION_LINES, Length, faults, function_lengths


def length(lines: int) -> Length:
    return Length(place="x", lines=lines)


def test_a_function_is_as_long_as_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("@decorated\ndef a():\n    def b():\n        pass\n    return b\n")
    assert sorted(each.lines for each in function_lengths(path)) == [2, 4]


def test_short_functions_and_files_are_no_fault() -> None:
    assert faults([length(8)] * 9 + [length(MAX_FUNCTION_LINES)], [length(300)]) == []


def test_what_is_too_long_is_named() -> None:
    found = faults([length(9), length(51), length(51)], [length(301)])
    assert len(found) == 5
    assert "x: 301 lines, 300 at most" in found
