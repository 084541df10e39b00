"""Signs of life and figures."""

from __future__ import annotations

from tests.api.house import House


async def test_health_is_told_without_a_login(home: House) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await home.get(path, role=None)
        assert (answer.status, answer.body["ok"]) == (200, True)
        assert answer.body["checks"]["database"] == {"ok": True, "message": None}


async def test_a_check_that_fails_is_status_503_with_its_sentence(home: House) -> None:
    async def engine() -> str | None:
        return "the sweeper has shown no life for 61 s"

    home.faces.health.add("engine", engine)
    ready = await home.get("/readyz", role=None)
    assert (ready.status, ready.body["ok"]) == (503, False)
    assert ready.body["checks"]["engine"]["message"] == "the sweeper has shown no life for 61 s"
    assert (await home.get("/healthz", role=None)).status == 200


async def test_metrics_are_in_the_text_format_of_prometheus(home: House) -> None:
    answer = await home.get("/metrics", role=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'provisiond_build_info{version="0.1.0"} 1.0' in answer.text
