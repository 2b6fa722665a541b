"""The real app, served once for all API tests: the demo, tiny checkpoints and one gated row."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from gradio_client import Client

from gemma_space.access import Access
from gemma_space.admission import Admission
from gemma_space.app import Space, build_app, launch_options
from gemma_space.catalog import hub_catalog
from gemma_space.hub import Answer
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.conftest import never_hang

__all__ = ["never_hang"]  # for these tests too

DEMO = "gemma-space/demo"
GATED = next(row for row in hub_catalog() if row.repo_id == "google/gemma-3-270m-it")


@dataclass
class Served:
    """A running app: its address, what it serves, its page, and the tokens its access check got."""

    url: str
    client: Client
    playground: Playground
    folders: dict[str, str]
    admission: Admission
    demo: Space
    tokens_asked: list[str | None] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def app(checkpoints: Checkpoints) -> Iterator[Served]:
    tokens_asked: list[str | None] = []

    def probe(repo_id: str, revision: str, token: str | None) -> Answer:
        tokens_asked.append(token)
        return Answer("license_not_accepted" if token else "no_token")

    folders = {t.name: str(checkpoints.folder(t)) for t in (*tiny.CHATTING, tiny.GEMMA_3_BASE)}
    folders["poisoned"] = str(checkpoints.poisoned())
    settings = Settings(models=(DEMO, *folders.values()))
    rows = (*served_checkpoints(settings.models), GATED)
    playground = Playground(rows, Access(probe=probe), settings)
    demo = build_app(playground, settings)
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, server_port=free_port(), **launch_options(demo)
    )
    try:
        client = Client(url, verbose=False)
        yield Served(url, client, playground, folders, demo.beside.admission, demo, tokens_asked)
    finally:
        demo.close()
