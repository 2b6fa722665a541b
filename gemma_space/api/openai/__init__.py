"""The routes that clients of OpenAI's API know: models, chat completions, completions.

A second spelling of the use cases in `api/text.py`, for programs that speak it already. Served
beside the page as plain routes, because their shapes and status codes are not Gradio's.
"""

from gemma_space.api.openai.routes import routes

__all__ = ["routes"]
