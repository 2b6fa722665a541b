"""What machines ask a server: is it well, is it ready, what is it doing."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gemma_space.settings import Settings
from tests.api.conftest import DEMO, Served
from tests.api.openai_client import GREEDY, client, said
from tests.api.test_endpoints import final

PLACES = Settings().concurrent_requests


def figures(app: Served) -> dict[tuple[str, ...], float]:
    """Every sample by its name and labels."""
    answer = httpx.get(app.url + "metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("gemma_space_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_ready_is_whether_the_default_model_is_there(app: Served) -> None:
    app.client.predict(model=DEMO, api_name="/load")
    assert httpx.get(app.url + "healthz").json() == {"status": "ok", "ready": True}
    app.client.predict(model=DEMO, api_name="/unload")
    assert httpx.get(app.url + "healthz").json() == {"status": "ok", "ready": False}


def test_every_way_in_is_counted(app: Served) -> None:
    before = figures(app)
    final(app.client, "/chat", message="Hello", precision="fp32", max_new_tokens=3)
    openai = client(app)
    openai.chat.completions.create(model=f"{DEMO}:fp32", messages=said("Hello"), **GREEDY)
    list(openai.completions.create(model=DEMO, prompt="Hello", max_tokens=2, stream=True))
    after = figures(app)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    for endpoint in ("api/chat", "openai/chat", "openai/generate"):
        counted = [n for name, n in grown.items() if name[:2] == ("requests_total", endpoint)]
        assert sum(counted) == 1, endpoint
    assert grown["tokens_total", "completion"] >= 6
    assert grown["tokens_total", "prompt"] > 0
    assert grown["time_to_first_token_seconds_count",] == 3
    assert after["requests_running",] == after["requests_waiting",] == 0
    assert after["models_loaded",] >= 1
    assert after["model_loads_total",] >= after["models_loaded",]
    assert 0 < after["model_bytes",] < after["memory_budget_bytes",]
    assert after["memory_free_bytes",] > 0
    for name in ("model_evictions_total", "prefix_cache_bytes", "tokens_per_second_count"):
        assert (name,) in after


def test_all_ways_in_share_the_places(app: Served) -> None:
    with ExitStack() as line:
        for _ in range(PLACES):
            line.enter_context(app.admission.enter())
        job: Any = app.client.submit("Hello", max_new_tokens=3, api_name="/chat")
        with ThreadPoolExecutor() as pool:
            reply = pool.submit(
                client(app).chat.completions.create, model=DEMO, messages=said("Hi"), **GREEDY
            )
            while app.admission.waiting < 2:  # the test's own limit ends this
                time.sleep(0.02)
            assert not job.done()
            assert not reply.done()
            line.close()
            assert reply.result().choices[0].finish_reason
    assert list(job)[-1]["finish_reason"]


def test_figures_name_no_model(app: Served) -> None:
    """Which ones are private, a scraper need not know."""
    final(app.client, "/chat", message="Hi", model=app.folders["gemma2"], max_new_tokens=2)
    told = httpx.get(app.url + "metrics").text
    assert DEMO not in told
    assert app.folders["gemma2"] not in told


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({}, True), ({"SPACE_ID": "a/b"}, False), ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
     ({"GRADIO_SHARE": "true"}, False), ({"GRADIO_ROOT_PATH": "/x"}, False),
     ({"GRADIO_SERVER_NAME": "0.0.0.0", "GEMMA_SPACE_METRICS": "true"}, True),
     ({"GEMMA_SPACE_METRICS": "false"}, False)],
    ids=str,
)  # fmt: skip
def test_others_see_figures_only_where_the_deployer_says_so(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], shown: bool
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().shows_metrics is shown
