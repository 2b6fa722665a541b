"""Gemma Space's entry point: `python app.py`, and what a Hugging Face Space runs."""

import sys

from gemma_space import redaction
from gemma_space.environment import hide_secrets, set_library_defaults
from gemma_space.settings import Settings

redaction.install()
set_library_defaults()  # before anything imports gradio or transformers

from gemma_space import journal  # noqa: E402
from gemma_space.app import build_app, serve  # noqa: E402
from gemma_space.errors import GemmaSpaceError  # noqa: E402
from gemma_space.playground import Playground  # noqa: E402
from gemma_space.rehearsal import Rehearsal  # noqa: E402
from gemma_space.remote.playground import RemotePlayground  # noqa: E402


def main() -> None:
    """Serve what the environment asks for, or say in one sentence why not."""
    try:
        settings = Settings.from_env()
        hide_secrets()
        if settings.engine_key:
            redaction.name(settings.engine_key.get_secret_value())
        kind = RemotePlayground if settings.engine_url else Playground
        playground = kind.from_settings(settings)
        rehearsal = Rehearsal(playground, settings) if settings.presenter else None
    except GemmaSpaceError as error:
        sys.exit(str(error))
    journal.write_to_stderr()
    serve(build_app(playground, settings, rehearsal), playground, rehearsal)


if __name__ == "__main__":
    main()
