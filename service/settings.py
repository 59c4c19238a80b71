"""The only reader of the environment and of settings.toml: both become one frozen `Settings`.

dynaconf layers (settings.toml < environment) and does nothing else: it is given the declared
variables as plain text, with its own loaders, casts and tokens off. Secrets and addresses are read
raw and never enter it.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path

from dynaconf import Dynaconf

from service.access import Credential
from service.credentials import owner, read_api_key, read_api_keys
from service.model import Limits, TlsVerify
from service.variables import Variables
from service.vitals import MemoryFault, Watermarks

SETTINGS_PATH = Path(__file__).resolve().parent.parent / "settings.toml"
SECRETS = frozenset({"API_KEY", "API_KEYS", "REDIS_URL", "BACKUP_REDIS_URL"})

# What the platform tells about itself: nobody sets these by hand.
PLATFORM_FACTS = frozenset({"on_platform", "dyno_ram_mb", "release_id"})

HYSTERESIS_PERCENT = 10
TEN_YEARS_SECONDS = 315_360_000
MIB = 1_048_576

MIN_SAMPLE_INTERVAL_MS = 20
MAX_SAMPLE_INTERVAL_MS = 1_000


class SettingsError(Exception):
    """The settings are wrong: each fault names a variable and what it may be, never what it is."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(("the settings are wrong:", *faults)))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set: each field is the variable of its name in capitals."""

    port: int
    host: str
    api_key: str | None = field(repr=False)
    api_keys: tuple[Credential, ...] = field(repr=False)
    redis_url: str | None = field(repr=False)
    backup_redis_url: str | None = field(repr=False)
    redis_tls_verify: TlsVerify
    redis_tls_ca: Path | None
    redis_max_connections: int
    session_ttl_seconds: float
    max_messages: int
    dedupe_window: int
    journal_max_mb: int
    limits: Limits
    memory_quota_mb: int | None
    memory_standard_percent: int
    memory_emergency_percent: int
    memory_sample_interval_ms: int
    enable_memory_optimization: bool
    enable_health_check: bool
    enable_session_backup: bool
    memory_fault: frozenset[MemoryFault]
    redis_emergency_keep_messages: int | None
    replay_max_mb: int
    on_platform: bool
    dyno_ram_mb: int | None
    release_id: str | None

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """All keys, that of `api_key` included."""
        return ((owner(self.api_key),) if self.api_key else ()) + self.api_keys

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach the address that is bound."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def session_ttl_ms(self) -> int:
        """The life of a session in whole milliseconds; 0 = never expires."""
        return round(self.session_ttl_seconds * 1000)

    @property
    def tls_verify(self) -> TlsVerify:
        """`redis_tls_verify` with `auto` resolved: the platform's own chain is self-signed."""
        if self.redis_tls_verify is not TlsVerify.AUTO:
            return self.redis_tls_verify
        return TlsVerify.OFF if self.on_platform else TlsVerify.FULL

    @property
    def watermarks(self) -> Watermarks:
        """The marks of the tiers as fractions: emergency is left where standard begins."""
        return Watermarks(
            standard_enter=self.memory_standard_percent / 100,
            standard_leave=(self.memory_standard_percent - HYSTERESIS_PERCENT) / 100,
            emergency_enter=self.memory_emergency_percent / 100,
            emergency_leave=self.memory_standard_percent / 100,
        )


def load_settings(environ: Mapping[str, str], *, path: Path = SETTINGS_PATH) -> Settings:
    """Read settings.toml at `path` and `environ` over it; all faults come in one SettingsError."""
    defaults = _read_defaults(path)
    names = {name: alias for alias, (name, _) in ALIASES.items()}
    variables = Variables(_layer(defaults, _overrides(environ)), names)
    for name in sorted(defaults.keys() - DECLARED):
        variables.refuse(name, f"is not a setting that {path.name} may hold")
    settings = _settings(variables, environ)
    _check_together(settings, variables)
    if variables.faults:
        raise SettingsError(*variables.faults.values())
    return settings


def _declared() -> frozenset[str]:
    """Name every variable that settings.toml holds and the environment may override."""
    own = {each.name for each in fields(Settings)} - PLATFORM_FACTS - {"limits"}
    limits = {each.name for each in fields(Limits)}
    return frozenset(name.upper() for name in own | limits) - SECRETS


DECLARED = _declared()


def _clamped_interval(text: str) -> str:
    """Bring the seed's interval into range: its users wrote 30000, no burst waits that long."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return text
    return str(min(max(int(text), MIN_SAMPLE_INTERVAL_MS), MAX_SAMPLE_INTERVAL_MS))


# The seed's names: what they are called now, and how their values are brought over.
ALIASES: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "MEMORY_CLEANUP_THRESHOLD": ("MEMORY_STANDARD_PERCENT", str),
    "MEMORY_EMERGENCY_THRESHOLD": ("MEMORY_EMERGENCY_PERCENT", str),
    "MEMORY_CHECK_INTERVAL": ("MEMORY_SAMPLE_INTERVAL_MS", _clamped_interval),
}


def _overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick the declared variables that are not empty; a name of our own wins over its alias."""
    given = {name: text.strip() for name, text in environ.items() if text.strip()}
    renamed = {
        name: convert(given[alias]) for alias, (name, convert) in ALIASES.items() if alias in given
    }
    return renamed | {name: given[name] for name in DECLARED & given.keys()}


def _read_defaults(path: Path) -> dict[str, object]:
    """Read settings.toml; what TOML has read is data, so no token in it is executed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path.name} is not valid TOML in UTF-8") from error


def _layer(defaults: Mapping[str, object], overrides: Mapping[str, str]) -> dict[str, str]:
    """Lay the environment over the defaults; all is text until it is parsed."""
    layers = Dynaconf(
        dynaconf_skip_loaders=True,  # no file search, no hooks, no environment, no *_FOR_DYNACONF
        dynaconf_skip_validators=True,  # a failing validator prints the value
        auto_cast=False,  # `@format ...` stays text
        load_dotenv=False,
    )
    layers.update({name: str(defaults[name]) for name in DECLARED & defaults.keys()})
    layers.update(dict(overrides))
    return {name: str(layers.get(name, "")) for name in DECLARED}


def _settings(variables: Variables, environ: Mapping[str, str]) -> Settings:
    """Build the Settings out of the layered texts and the raw environment."""
    on_platform = bool(environ.get("DYNO"))
    # Secrets are read raw: they enter no layer.
    api_key = read_api_key(variables, environ.get("API_KEY", ""))
    return Settings(
        port=variables.whole("PORT", 0, 65_535, "a TCP port; 0 = any free one"),
        host=variables.host("HOST", "0.0.0.0" if on_platform else "127.0.0.1"),  # noqa: S104  # the router is outside
        api_key=api_key,
        api_keys=read_api_keys(variables, environ.get("API_KEYS", ""), api_key),
        # Nonsense is kept: on a platform the add-on may come late, and the store reports it.
        redis_url=environ.get("REDIS_URL") or None,
        backup_redis_url=environ.get("BACKUP_REDIS_URL") or None,
        redis_tls_verify=variables.choice("REDIS_TLS_VERIFY", TlsVerify),
        redis_tls_ca=variables.file("REDIS_TLS_CA"),
        redis_max_connections=variables.whole("REDIS_MAX_CONNECTIONS", 1, 20, "connections"),
        session_ttl_seconds=variables.seconds("SESSION_TTL_SECONDS", TEN_YEARS_SECONDS),
        max_messages=variables.whole("MAX_MESSAGES", 1, 1_000_000, "messages"),
        dedupe_window=variables.whole("DEDUPE_WINDOW", 1, 4_096, "messages"),
        journal_max_mb=variables.whole("JOURNAL_MAX_MB", 0, 1_024, "MB; 0 = switched off"),
        limits=_limits(variables),
        memory_quota_mb=variables.whole_or_none("MEMORY_QUOTA_MB", 96, 1_048_576, "MB"),
        memory_standard_percent=variables.whole("MEMORY_STANDARD_PERCENT", 40, 95, "percent"),
        memory_emergency_percent=variables.whole("MEMORY_EMERGENCY_PERCENT", 40, 95, "percent"),
        memory_sample_interval_ms=variables.whole(
            "MEMORY_SAMPLE_INTERVAL_MS", MIN_SAMPLE_INTERVAL_MS, MAX_SAMPLE_INTERVAL_MS, "ms"
        ),
        enable_memory_optimization=variables.switch("ENABLE_MEMORY_OPTIMIZATION"),
        enable_health_check=variables.switch("ENABLE_HEALTH_CHECK"),
        enable_session_backup=variables.switch("ENABLE_SESSION_BACKUP"),
        memory_fault=variables.choices("MEMORY_FAULT", MemoryFault),
        redis_emergency_keep_messages=variables.whole_or_none(
            "REDIS_EMERGENCY_KEEP_MESSAGES", 1, 1_000_000, "messages"
        ),
        replay_max_mb=variables.whole("REPLAY_MAX_MB", 0, 4_096, "MB"),
        on_platform=on_platform,
        dyno_ram_mb=_dyno_ram_mb(environ),
        release_id=environ.get("HEROKU_SLUG_COMMIT") or environ.get("HEROKU_RELEASE_VERSION"),
    )


def _limits(variables: Variables) -> Limits:
    """Read what one request may hold."""
    return Limits(
        max_body_bytes=variables.whole("MAX_BODY_BYTES", 1_024, 64 * MIB, "bytes"),
        max_message_bytes=variables.whole("MAX_MESSAGE_BYTES", 256, 32 * MIB, "bytes"),
        max_value_bytes=variables.whole("MAX_VALUE_BYTES", 256, 32 * MIB, "bytes"),
        max_messages_per_call=variables.whole("MAX_MESSAGES_PER_CALL", 1, 5_000, "messages"),
        max_keys_per_call=variables.whole("MAX_KEYS_PER_CALL", 1, 20_000, "keys"),
        max_answer_bytes=variables.whole("MAX_ANSWER_BYTES", 1_024, 64 * MIB, "bytes"),
        max_json_depth=variables.whole("MAX_JSON_DEPTH", 1, 250, "levels"),
        max_header_bytes=variables.whole("MAX_HEADER_BYTES", 4_096, 262_144, "bytes"),
        max_header_lines=variables.whole("MAX_HEADER_LINES", 16, 1_000, "lines"),
    )


def _dyno_ram_mb(environ: Mapping[str, str]) -> int | None:
    """Read the dyno's MB; nonsense from the platform is no reason to stop."""
    text = environ.get("DYNO_RAM", "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _check_together(settings: Settings, variables: Variables) -> None:
    """Check what is only wrong in company; a variable at fault by itself keeps its own rule."""
    rules = (
        (
            settings.memory_standard_percent < settings.memory_emergency_percent,
            ("MEMORY_STANDARD_PERCENT", "MEMORY_EMERGENCY_PERCENT"),
            "must be below MEMORY_EMERGENCY_PERCENT",
        ),
        (
            settings.tls_verify is not TlsVerify.CA or settings.redis_tls_ca is not None,
            ("REDIS_TLS_CA", "REDIS_TLS_VERIFY"),
            "must be set where REDIS_TLS_VERIFY is ca",
        ),
        *_limit_rules(settings.limits),
    )
    for holds, names, rule in rules:
        if not holds and not variables.faults.keys() & set(names):
            variables.refuse(names[0], rule)


def _limit_rules(limits: Limits) -> Iterator[tuple[bool, tuple[str, ...], str]]:
    """Keep what was accepted readable: base64 and its envelope add less than the other half."""
    half = limits.max_answer_bytes // 2
    for name in ("max_message_bytes", "max_value_bytes"):
        names = (name.upper(), "MAX_ANSWER_BYTES")
        yield getattr(limits, name) <= half, names, "must be at most half of MAX_ANSWER_BYTES"
