"""The stock pattern of Gemma Spaces, a baseline: what most of them have, and nothing of ours.

The conversation goes through the chat template, a thread of its own runs `generate` on all of it,
and a `TextIteratorStreamer` hands the text on to a `gr.ChatInterface`. It is no straw man: the
model is loaded as such Spaces load it, before the page is served. `python -m
benchmarks.stock_space` serves it on the demo checkpoint, for `benchmarks.startup`. Imports nothing
of Gemma Space, so that its start is its own.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

DEMO_MODEL = Path(__file__).resolve().parents[1] / "assets" / "demo-model"
NAME = "the stock pattern of Gemma Spaces"
PATIENCE_SECONDS = 600


class StockSpace:
    """The pattern, on a model that is in memory."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer

    def stream(self, messages: Sequence[dict[str, str]], tokens: int) -> Iterator[str]:
        """The reply so far, each time some text came."""
        inputs = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        streamer = TextIteratorStreamer(
            self._tokenizer, timeout=PATIENCE_SECONDS, skip_prompt=True, skip_special_tokens=True
        )
        options = {"streamer": streamer, "max_new_tokens": tokens, "do_sample": False}
        thread = threading.Thread(target=self._generate, kwargs={**inputs, **options})
        thread.start()
        text = ""
        for piece in streamer:
            text += piece
            yield text
        thread.join()

    @torch.inference_mode()
    def _generate(self, **options: Any) -> None:
        self._model.generate(**options)


def chat_page(
    respond: Callable[[str, list[Any]], Iterator[str]], history: Sequence[dict[str, str]]
) -> gr.Blocks:
    """The page, for any replies, the conversation so far in it."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.ChatInterface(respond, chatbot=gr.Chatbot(value=list(history), height=600))
    return page


def main() -> None:
    """Load the model, then serve the page."""
    model = AutoModelForCausalLM.from_pretrained(DEMO_MODEL, dtype=torch.bfloat16)
    space = StockSpace(model, AutoTokenizer.from_pretrained(DEMO_MODEL))

    def respond(message: str, history: list[Any]) -> Iterator[str]:
        said = [{"role": turn["role"], "content": turn["content"][0]["text"]} for turn in history]
        yield from space.stream([*said, {"role": "user", "content": message}], 512)

    chat_page(respond, []).launch()


if __name__ == "__main__":
    main()
