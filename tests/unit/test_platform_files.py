"""settings.toml, docs/settings.md, app.json and the code say the same, in both directions.

tests/data/app-json.schema.json is the platform's own schema, from the npm package
@heroku/mcp-server 1.2.8 (Apache-2.0).
"""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from service.settings import ALIASES, DECLARED, SECRETS, SETTINGS_PATH, SettingsError, load_settings

ROOT = SETTINGS_PATH.parent
BY_THE_PLATFORM = {"PORT", "HOST", "REDIS_URL"}
FOR_TESTS = {"MEMORY_FAULT"}
DEFAULTS = tomllib.loads(SETTINGS_PATH.read_text())


def read_json(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / name).read_text())
    return content


APP = read_json("app.json")


def as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def documented() -> dict[str, list[str]]:
    """The rows of docs/settings.md: variable -> default, range, effect, alias."""
    table = (ROOT / "docs" / "settings.md").read_text()
    rows = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("| `")]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    return {name: rest for name, *rest in cells}


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


# --- Settings ------------------------------------------------------------------------------------


def test_the_file_holds_every_setting_and_no_other() -> None:
    assert DEFAULTS.keys() == DECLARED


def test_every_setting_of_the_file_has_a_comment_above_it() -> None:
    lines = SETTINGS_PATH.read_text().splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if " = " in line and not above.startswith("# ") and not line.startswith("#")
    ]
    assert bare == []


def test_the_docs_name_every_setting_with_its_default() -> None:
    rows = documented()
    assert rows.keys() == DECLARED | SECRETS
    for name, value in DEFAULTS.items():
        assert rows[name][0] == (as_text(value) or "not set"), name


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_the_docs_tell_the_range_of_the_code(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: "@"})
    told = re.search(r"from (\d+) to (\d+)", str(caught.value))
    if told:
        assert documented()[name][1].startswith(f"{told[1]}-{told[2]}")


def test_the_docs_name_every_alias_at_its_setting() -> None:
    aliases = {alias: name for name, row in documented().items() if (alias := [*row, ""][3])}
    assert aliases == {alias: name for alias, (name, _) in ALIASES.items()}


# --- app.json ------------------------------------------------------------------------------------


def test_app_json_is_valid_for_the_platform() -> None:
    schema = read_json("tests/data/app-json.schema.json")
    jsonschema.Draft7Validator(schema).validate(APP)
    with pytest.raises(jsonschema.ValidationError):  # the control: the schema does refuse
        jsonschema.Draft7Validator(schema).validate(APP | {"env": {"PORT": {"value": 8000}}})


def test_app_json_offers_every_setting_that_the_platform_does_not_make() -> None:
    assert APP["env"].keys() == (DECLARED | SECRETS) - BY_THE_PLATFORM - FOR_TESTS


def test_app_json_makes_the_key_and_asks_for_nothing() -> None:
    assert APP["env"]["API_KEY"]["generator"] == "secret"
    optional = {name for name, entry in APP["env"].items() if entry.get("required") is False}
    assert optional == APP["env"].keys() - {"API_KEY"}


def test_a_value_in_app_json_is_the_default() -> None:
    values = {name: entry["value"] for name, entry in APP["env"].items() if "value" in entry}
    assert values == {name: as_text(DEFAULTS[name]) for name in values}
    assert load_settings(values) == load_settings({})


def test_a_generated_key_is_accepted() -> None:
    generated = "0123456789abcdef" * 4  # the platform makes 64 hexadecimal digits
    assert load_settings({"API_KEY": generated}).api_key == generated


def test_app_json_takes_plans_that_exist() -> None:
    assert APP["addons"] == [{"plan": "heroku-redis:mini"}]
    assert APP["formation"] == {"web": {"quantity": 1, "size": "basic"}}
    assert (APP["stack"], APP["buildpacks"]) == ("heroku-24", [{"url": "heroku/python"}])


# --- Files of the platform -----------------------------------------------------------------------


def test_the_procfile_starts_the_service() -> None:
    assert (ROOT / "Procfile").read_text() == "web: python -m service\n"


def test_the_version_of_python_is_one_that_is_tested() -> None:
    assert (ROOT / ".python-version").read_text().strip() in {"3.11", "3.13"}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_and_says_why(name: str) -> None:
    loose = [line for line in requirements(name) if not re.match(r"[\w.-]+==[\w.]+ .*# \w", line)]
    assert loose == []


def test_the_buildpack_finds_one_list_of_requirements() -> None:
    rivals = ["Pipfile", "Pipfile.lock", "poetry.lock", "uv.lock", "setup.py", "runtime.txt"]
    assert [name for name in rivals if (ROOT / name).exists()] == []
    assert not (ROOT / "bin").exists()


def test_programs_can_be_run() -> None:
    programs = [
        ROOT / ".ci" / "run",
        *(path for path in (ROOT / "scripts").iterdir() if not path.suffix and path.is_file()),
    ]
    assert [path.name for path in programs if not is_executable(path)] == []


def is_executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)
