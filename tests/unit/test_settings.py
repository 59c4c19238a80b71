import os
import re
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import Limits, TlsVerify
from service.settings import (
    ALIASES,
    DECLARED,
    SECRETS,
    SETTINGS_PATH,
    SettingsError,
    load_settings,
)
from service.vitals import MemoryFault, Watermarks

ROOT = SETTINGS_PATH.parent
KEY_CHARACTERS = string.ascii_letters + string.digits + "_-"


def faults(environ: dict[str, str], *, path: Path = SETTINGS_PATH) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, path=path)
    return caught.value.faults


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """A settings.toml with lines appended to the real one."""

    def write(lines: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(f"{SETTINGS_PATH.read_text()}\n{lines}\n")
        return path

    return write


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.limits == Limits()
    assert settings.session_ttl_ms == 30 * 24 * 3600 * 1000
    assert (settings.api_key, settings.redis_url, settings.memory_quota_mb) == (None, None, None)
    assert (settings.backup_redis_url, settings.enable_session_backup) == (None, True)
    assert settings.is_loopback
    assert settings.enable_memory_optimization
    assert settings.enable_health_check
    assert not settings.on_platform


def test_the_environment_wins_over_the_file(toml: Callable[[str], Path]) -> None:
    text = SETTINGS_PATH.read_text().replace("MAX_MESSAGES = 1000", "MAX_MESSAGES = 7")
    path = toml("")
    path.write_text(text)
    assert load_settings({}, path=path).max_messages == 7
    assert load_settings({"MAX_MESSAGES": " 9 "}, path=path).max_messages == 9


def test_an_empty_variable_is_not_set() -> None:
    blank = dict.fromkeys((*DECLARED, *ALIASES, *SECRETS), "")
    assert load_settings(blank) == load_settings({})
    assert load_settings({"PORT": " "}).port == 8000


def test_a_platform_is_bound_from_outside() -> None:
    settings = load_settings({"DYNO": "web.1", "PORT": "5000"})
    assert (settings.host, settings.on_platform, settings.is_loopback) == ("0.0.0.0", True, False)  # noqa: S104  # what is tested
    assert load_settings({"DYNO": "web.1", "HOST": "::1"}).is_loopback


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("::", False),
        ("example.org", False),
    ],
)
def test_a_bind_is_loopback_only_if_it_surely_is(host: str, is_loopback: bool) -> None:  # noqa: FBT001  # a table
    assert load_settings({"HOST": host}).is_loopback is is_loopback


# --- Secrets -------------------------------------------------------------------------------------


@given(st.text(KEY_CHARACTERS, min_size=5, max_size=256))
def test_every_allowed_key_survives_as_it_is(key: str) -> None:
    assert load_settings({"API_KEY": key}).api_key == key


@pytest.mark.parametrize("key", ["1e300", "false", "00123", "-----", "1_000"])
def test_a_key_that_looks_like_a_number_or_a_word_survives(key: str) -> None:
    assert load_settings({"API_KEY": key}).api_key == key


@pytest.mark.parametrize(
    "key", ["abcd", "x" * 257, "hush hush", "@format {env[HOME]}", "hüsch", "a,b-c"]
)
def test_a_bad_key_is_refused_without_being_told(key: str) -> None:
    (fault,) = faults({"API_KEY": key})
    assert fault == "API_KEY must be 5 to 256 characters of A-Z, a-z, 0-9, _ and -"


@pytest.mark.parametrize(
    "url", ["redis://:pa@h/0", "nonsense", " @none ", "@format {x}", "rediss://u:p%40@h:1"]
)
def test_any_address_of_redis_starts_and_is_kept_raw(url: str) -> None:
    assert load_settings({"REDIS_URL": url}).redis_url == url
    assert load_settings({"BACKUP_REDIS_URL": url}).backup_redis_url == url


def test_secrets_are_not_in_the_repr() -> None:
    keys = {"API_KEY": "hush-hush", "API_KEYS": "one:ro:hush-one,two:admin:hush-two"}
    urls = dict.fromkeys(("REDIS_URL", "BACKUP_REDIS_URL"), "redis://:hush-hush@h")
    shown = repr(load_settings({**keys, **urls}))
    assert "hush" not in shown
    assert "port=8000" in shown  # the control: it does show the rest


@given(st.sampled_from(sorted(DECLARED)), st.text(max_size=50).map("hush @{}".format))
def test_a_fault_names_the_variable_and_never_the_value(name: str, value: str) -> None:
    told = "\n".join(faults({name: value}))
    assert name in told
    assert "hush" not in told


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_in_the_file_is_refused(name: str, toml: Callable[[str], Path]) -> None:
    path = toml(f'{name} = "hush-hush"')
    assert faults({}, path=path) == (f"{name} is not a setting that settings.toml may hold",)


# --- Traps of the layering -----------------------------------------------------------------------


def test_no_variable_of_dynaconf_has_a_say(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.toml"
    stranger.write_text("PORT = 1\n")
    (tmp_path / ".env").write_text("PORT=1\n")
    names = ("SETTINGS_FILE", "SETTINGS_FILES", "INCLUDES", "PRELOAD", "SECRETS", "ROOT_PATH")
    switches = ("AUTO_CAST", "MERGE_ENABLED", "DOTTED_LOOKUP", "LOAD_DOTENV", "SYSENV_FALLBACK")
    environ = {
        **{f"{name}_FOR_DYNACONF": str(stranger) for name in names},
        **{f"{name}_FOR_DYNACONF": "true" for name in switches},
        "ENVVAR_PREFIX_FOR_DYNACONF": "TRAP",
        "NESTED_SEPARATOR_FOR_DYNACONF": "_",
        "TRAP_PORT": "2",
        "DYNACONF_PORT": "3",
        "DYNACONF_API__KEY": "4",
        "API_KEY__X": "5",
        "PORT__X": "6",
        "LIMITS": "@format {env[HOME]}",
        "PYTHONPATH": str(ROOT),
    }
    program = "import os; from service.settings import load_settings as l; print(l(os.environ))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == repr(load_settings({}))


@pytest.mark.parametrize(
    "token", ["@format {env[HOME]}", "@jinja {{1}}", "@int 9", "@none", "@del", "@merge 1"]
)
def test_no_token_is_executed(token: str, toml: Callable[[str], Path]) -> None:
    assert faults({"PORT": token})[0].startswith("PORT must be")
    path = toml("")
    path.write_text(SETTINGS_PATH.read_text().replace("PORT = 8000", f'PORT = "{token}"'))
    assert faults({}, path=path)[0].startswith("PORT must be")


# --- Faults --------------------------------------------------------------------------------------


def test_all_faults_are_told_at_once() -> None:
    wrong = {"PORT": "70000", "MAX_MESSAGES": "0", "ENABLE_HEALTH_CHECK": "enabled", "API_KEY": "x"}
    told = faults(wrong)
    assert len(told) == len(wrong)
    assert all(any(fault.startswith(name) for fault in told) for name in wrong)
    assert "PORT must be a whole number from 0 to 65535 (a TCP port; 0 = any free one)" in told


@pytest.mark.parametrize(
    "text", ["1e3", "1_000", "+5", "-1", "5.0", "0x10", "٣", "True", "5 5", "9" * 40]
)
def test_only_plain_digits_are_a_number(text: str) -> None:
    assert faults({"MAX_MESSAGES": text})[0].startswith("MAX_MESSAGES must be")


@pytest.mark.parametrize("word", ["true", "TRUE", "1", "yes", "On"])
def test_words_that_switch_on(word: str) -> None:
    assert load_settings({"ENABLE_MEMORY_OPTIMIZATION": word}).enable_memory_optimization


@pytest.mark.parametrize("word", ["false", "FALSE", "0", "no", "Off"])
def test_words_that_switch_off(word: str) -> None:
    assert not load_settings({"ENABLE_MEMORY_OPTIMIZATION": word}).enable_memory_optimization


def test_layers_that_fail_are_words_of_a_list() -> None:
    given = load_settings({"MEMORY_FAULT": " Advanced, basic,"}).memory_fault
    assert given == {MemoryFault.ADVANCED, MemoryFault.BASIC}
    assert load_settings({}).memory_fault == frozenset()
    (fault,) = faults({"MEMORY_FAULT": "advanced,all"})
    assert fault.startswith("MEMORY_FAULT must be of advanced, basic")


@pytest.mark.parametrize("word", ["enabled", "2", "t", "y", "none", "@bool true"])
def test_other_words_are_refused(word: str) -> None:
    assert faults({"ENABLE_MEMORY_OPTIMIZATION": word})[0].startswith("ENABLE_MEMORY_OPTIMIZATION")


@pytest.mark.parametrize(
    ("text", "ttl_ms"),
    [
        ("0", 0),
        ("0.001", 1),
        ("1.5", 1500),
        ("315360000", 315_360_000_000),
        ("315359999.999", 315_359_999_999),
    ],
)
def test_the_life_of_a_session_has_steps_of_a_millisecond(text: str, ttl_ms: int) -> None:
    assert load_settings({"SESSION_TTL_SECONDS": text}).session_ttl_ms == ttl_ms


@pytest.mark.parametrize("text", ["0.0001", "315360000.001", "-1", "1e3", "inf", "nan", "1."])
def test_other_lives_are_refused(text: str) -> None:
    assert faults({"SESSION_TTL_SECONDS": text})[0].startswith("SESSION_TTL_SECONDS must be")


def test_a_host_is_no_sentence() -> None:
    assert faults({"HOST": "not a host"}) == ("HOST must be an IP address or a host name",)


def test_a_file_that_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    assert faults({}, path=path) == ("settings.toml cannot be read: No such file or directory",)
    path.write_text("PORT = hush")
    assert faults({}, path=path) == ("settings.toml is not valid TOML in UTF-8",)
    path.write_bytes(b"PORT = 8000 # \xff")
    assert faults({}, path=path) == ("settings.toml is not valid TOML in UTF-8",)


def test_a_setting_that_is_unknown_or_missing_is_told(toml: Callable[[str], Path]) -> None:
    path = toml("MAX_MESAGES = 5")
    assert faults({}, path=path) == ("MAX_MESAGES is not a setting that settings.toml may hold",)
    path.write_text(SETTINGS_PATH.read_text().replace("PORT = 8000", ""))
    assert faults({}, path=path)[0].startswith("PORT must be")


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "resolved"),
    [
        ({}, TlsVerify.FULL),
        ({"DYNO": "web.1"}, TlsVerify.OFF),
        ({"DYNO": "web.1", "REDIS_TLS_VERIFY": "FULL"}, TlsVerify.FULL),
        ({"REDIS_TLS_VERIFY": "off"}, TlsVerify.OFF),
    ],
)
def test_how_far_a_certificate_is_trusted(environ: dict[str, str], resolved: TlsVerify) -> None:
    assert load_settings(environ).tls_verify is resolved


def test_a_private_authority_needs_its_file(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    rule = "REDIS_TLS_CA must be set where REDIS_TLS_VERIFY is ca"
    assert faults({"REDIS_TLS_VERIFY": "ca"}) == (rule,)
    given_path = {"REDIS_TLS_VERIFY": "ca", "REDIS_TLS_CA": str(authority)}
    assert faults(given_path) == ("REDIS_TLS_CA must be the path of a file that exists",)
    authority.touch()
    assert load_settings(given_path).redis_tls_ca == authority


def test_other_ways_to_check_are_refused() -> None:
    rule = "REDIS_TLS_VERIFY must be one of auto, full, ca, off"
    assert faults({"REDIS_TLS_VERIFY": "none"}) == (rule,)


# --- Memory --------------------------------------------------------------------------------------


def test_the_marks_are_fractions_with_hysteresis() -> None:
    marks = Watermarks(
        standard_enter=0.7, standard_leave=0.6, emergency_enter=0.85, emergency_leave=0.7
    )
    assert load_settings({}).watermarks == marks


def test_standard_comes_before_emergency() -> None:
    rule = "MEMORY_STANDARD_PERCENT (or MEMORY_CLEANUP_THRESHOLD) must be below"
    (fault,) = faults({"MEMORY_STANDARD_PERCENT": "85"})
    assert fault.startswith(rule)
    (alone,) = faults({"MEMORY_EMERGENCY_PERCENT": "x"})
    assert "from 40 to 95" in alone


def test_the_names_of_the_seed_are_read_and_ours_win() -> None:
    seed = {
        "MEMORY_CLEANUP_THRESHOLD": "60",
        "MEMORY_EMERGENCY_THRESHOLD": "80",
        "MEMORY_CHECK_INTERVAL": "200",
    }
    settings = load_settings(seed)
    read = (settings.memory_standard_percent, settings.memory_emergency_percent)
    assert (*read, settings.memory_sample_interval_ms) == (60, 80, 200)
    assert load_settings(seed | {"MEMORY_STANDARD_PERCENT": "50"}).memory_standard_percent == 50


@pytest.mark.parametrize(("text", "interval_ms"), [("30000", 1000), ("1", 20), ("500", 500)])
def test_the_interval_of_the_seed_is_brought_into_range(text: str, interval_ms: int) -> None:
    assert load_settings({"MEMORY_CHECK_INTERVAL": text}).memory_sample_interval_ms == interval_ms


def test_nonsense_under_a_name_of_the_seed_tells_that_name() -> None:
    (fault,) = faults({"MEMORY_CHECK_INTERVAL": "30s"})
    assert "MEMORY_CHECK_INTERVAL" in fault
    assert faults({"MEMORY_SAMPLE_INTERVAL_MS": "30000"})


@pytest.mark.parametrize("name", ["MAX_MESSAGE_BYTES", "MAX_VALUE_BYTES"])
def test_what_is_accepted_can_be_read_back(name: str) -> None:
    rule = f"{name} must be at most half of MAX_ANSWER_BYTES"
    assert faults({name: "16777217", "MAX_ANSWER_BYTES": "33554432"}) == (rule,)
    half = load_settings({name: "16777216", "MAX_ANSWER_BYTES": "33554432"})
    assert getattr(half.limits, name.lower()) == 16777216


# --- The platform --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ram_mb"), [("512", 512), ("", None), ("lots", None), ("0", None)]
)
def test_the_ram_of_the_dyno_never_stops_the_start(text: str, ram_mb: int | None) -> None:
    assert load_settings({"DYNO_RAM": text}).dyno_ram_mb == ram_mb


def test_the_release_is_the_commit_or_the_version() -> None:
    version = {"HEROKU_RELEASE_VERSION": "v42"}
    assert load_settings({}).release_id is None
    assert load_settings(version).release_id == "v42"
    assert load_settings(version | {"HEROKU_SLUG_COMMIT": "abc"}).release_id == "abc"


def test_the_number_of_workers_is_not_ours_to_read() -> None:
    assert load_settings({"WEB_CONCURRENCY": "2"}) == load_settings({})


def test_only_settings_read_the_environment() -> None:
    readers = [
        path.name
        for path in (ROOT / "service").rglob("*.py")
        if re.search(r"\bos\.environ|\bgetenv|\benviron\[", path.read_text())
    ]
    assert set(readers) <= {"settings.py", "__main__.py"}


def test_loading_leaves_the_environment_alone() -> None:
    before = dict(os.environ)
    load_settings(os.environ)
    assert dict(os.environ) == before
