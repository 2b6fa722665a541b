"""Gemma Space's entry point: `python app.py`, and what a Hugging Face Space runs."""

from gemma_space.settings import Settings, set_library_defaults

set_library_defaults()  # before anything imports gradio or transformers

from gemma_space.app import build_app, serve  # noqa: E402
from gemma_space.playground import Playground  # noqa: E402

if __name__ == "__main__":
    settings = Settings.from_env()
    playground = Playground.from_settings(settings)
    serve(build_app(playground, settings), playground)
