"""Times as people and programs read them."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.clock import rfc3339


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 # hypothesis wants naive bounds
def test_a_timestamp_is_rfc_3339_in_milliseconds(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1_000 * 1_000)
    ms = round(moment.timestamp() * 1_000)

    assert datetime.fromisoformat(rfc3339(ms)) == moment
    assert len(rfc3339(ms)) == 24
