"""Who may do what: a key stands for a namespace and a scope in it."""

from dataclasses import dataclass, field
from enum import IntEnum

from service.model import Namespace

DEFAULT_NAMESPACE = Namespace("default")


class Scope(IntEnum):
    """How far a key reaches; a larger scope includes the smaller ones."""

    RO = 1
    RW = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Principal:
    """What a caller may touch and how far."""

    namespace: Namespace
    scope: Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """A key and whose it is."""

    key: str = field(repr=False)
    principal: Principal
