"""Which tier memory is in: pure decisions over a fraction of the quota and a time."""

from dataclasses import dataclass

from service.vitals import MemoryReading, Tier, Watermarks

DEFAULT_MARKS = Watermarks(
    standard_enter=0.70,
    standard_leave=0.60,
    emergency_enter=0.85,
    emergency_leave=0.70,
)
DWELL_SECONDS = 5.0
ORDER = (Tier.NORMAL, Tier.STANDARD, Tier.EMERGENCY)


@dataclass(frozen=True, slots=True)
class TierState:
    """The tier, and since when (monotonic seconds) the use has asked for a lower one."""

    tier: Tier = Tier.NORMAL
    lower_since: float | None = None


def next_tier(current: Tier, fraction: float, marks: Watermarks) -> Tier:
    """The tier that `fraction` of the quota asks for.

    A tier is entered at its enter mark, and left at its leave mark: a relief that brings the use
    down to exactly that mark has done enough.
    """
    if fraction >= marks.emergency_enter:
        return Tier.EMERGENCY
    if current is Tier.EMERGENCY and fraction > marks.emergency_leave:
        return Tier.EMERGENCY
    if fraction >= marks.standard_enter:
        return Tier.STANDARD
    if current is not Tier.NORMAL and fraction > marks.standard_leave:
        return Tier.STANDARD
    return Tier.NORMAL


def advance(
    state: TierState,
    fraction: float,
    marks: Watermarks,
    now: float,
    *,
    early: Tier = Tier.NORMAL,
) -> TierState:
    """Go up at once, down only when a lower tier was asked for throughout the dwell.

    `early` is a tier that growth asks for, whatever the fraction says.
    """
    asked = higher(next_tier(state.tier, fraction, marks), early)
    if not is_above(state.tier, asked):
        return TierState(asked)
    since = now if state.lower_since is None else state.lower_since
    if now - since >= DWELL_SECONDS:
        return TierState(asked)
    return TierState(state.tier, since)


def is_above(one: Tier, other: Tier) -> bool:
    """Compare two tiers by how hard memory presses."""
    return ORDER.index(one) > ORDER.index(other)


def higher(one: Tier, other: Tier) -> Tier:
    """Return the tier in which memory presses harder."""
    return one if is_above(one, other) else other


def excess_bytes(tier: Tier, reading: MemoryReading, marks: Watermarks) -> int:
    """Bytes in use above the mark at which `tier` is left; 0 when there is nothing to free."""
    if tier is Tier.NORMAL:
        return 0
    leave = marks.standard_leave if tier is Tier.STANDARD else marks.emergency_leave
    return max(0, reading.used_bytes - int(leave * reading.quota_bytes))
