"""Answers to a presenter's examples, written once behind the page and shown at once.

Knows which questions there are and what the model answers greedily, so that every showing is the
same. Does not know how an answer looks; whoever shows one says that it was kept.
"""

import logging

from gemma_space.assets import examples
from gemma_space.errors import GemmaSpaceError, SettingsError
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Controls, Generation, Message
from gemma_space.use_cases import UseCases

log = logging.getLogger(__name__)


class Rehearsal:
    """The examples of presenter mode, with their answers once they are there.

    Args:
        playground: answers with its default model.
        settings: the deployer's choices.

    Raises:
        SettingsError: the default model is one that not everybody in the room may use.
    """

    def __init__(self, playground: UseCases, settings: Settings) -> None:
        self._playground = playground
        self._row = playground.library.find(playground.default_model)
        # Where each reply borrows a GPU, it is lent to a visitor, and here there is none.
        self._rehearses = not settings.zero_gpu
        self._answers: dict[str, Generation] = {}
        self.examples = settings.presenter_examples or examples()
        if settings.access != "deployer" and any(
            part.gated for part in (self._row, self._row.base) if part is not None
        ):
            raise SettingsError(
                f"Presenter mode has no place to sign in, and {self._row.title} is gated.",
                "Set GEMMA_SPACE_ACCESS=deployer with your HF_TOKEN, or another "
                "GEMMA_SPACE_DEFAULT_MODEL.",
            )

    def run(self) -> None:
        """Answer every example, one after the other; what fails is asked live when it is wanted."""
        if not self._rehearses:
            return
        for text in self.examples:
            try:
                for state in self._playground.chat(self._greedy(text)):
                    if isinstance(state, Generation) and state.finish_reason:
                        self._answers[text] = state
            except GemmaSpaceError as error:
                log.warning("the examples are not all rehearsed: %s", error)
                return

    def answer(self, text: str) -> Generation | None:
        """The kept answer to an example; None while there is none.

        Raises:
            AccessDeniedError: the deployer's access to the model has ended meanwhile.
        """
        found = self._answers.get(text)
        if found is not None:
            self._playground.library.require(self._row, None)
        return found

    def _greedy(self, text: str) -> ChatRequest:
        return ChatRequest(
            messages=(Message(role="user", content=text),),
            model=self._playground.default_model,
            controls=Controls(temperature=0.0),
        )
