"""A defect of the service is a problem document too, and is logged with its traceback."""

import pytest

from service.settings import load_settings
from tests.app.conftest import run_with_state
from tests.problems import assert_problem


async def test_a_defect_is_told_without_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with run_with_state(load_settings({}), sessions=None) as api:
        response = await api.get("/v1/sessions/a", headers={"X-Request-Id": "id-of-mine"})
        problem = assert_problem(response, 500, "internal")
        assert "KeyError" not in response.text
        assert problem["request_id"] == "id-of-mine"
        assert (await api.get("/health/live")).status_code == 200

    assert "id-of-mine" in caplog.text
    assert "Traceback" in caplog.text
