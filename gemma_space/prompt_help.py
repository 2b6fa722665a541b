"""What a raw prompt would be before it is run, and help in writing one: use cases without weights.

Knows which tokenizer to ask. What is right and wrong in a prompt is in `prompt_format`.
"""

from gemma_space import limits, prompt_format, tokens
from gemma_space.library import Library
from gemma_space.runs import Inspection


class PromptHelp:
    """The use cases.

    Args:
        library: finds models and their tokenizers.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    def inspect(
        self,
        text: str,
        model: str,
        *,
        add_bos: bool = True,
        parse_special: bool = True,
        exact: tuple[int, ...] = (),
        token: str | None = None,
    ) -> Inspection:
        """All tokens that a run would be given, and what is probably a mistake.

        Args:
            exact: ids to be run in place of the text.
        """
        row = self._library.find(model, token)
        limits.check_size(text)
        limits.check_ids(exact)
        tokenizer = self._library.tokenizer(row, token)
        ids = exact or tokens.encode_prompt(
            tokenizer, text, add_bos=add_bos, parse_special=parse_special
        )
        if exact:
            told = prompt_format.about_ids(tokenizer, text, ids)
        else:
            told = prompt_format.warnings(
                tokenizer, text, add_bos=add_bos, parse_special=parse_special, variant=row.variant
            )
        return Inspection(
            tokens=tokens.pieces(tokenizer, ids),
            warnings=told,
            exact=bool(exact),
            fills_gaps=prompt_format.has_fim(tokenizer),
        )

    def as_turn(self, text: str, model: str, token: str | None = None) -> str:
        """The text as a turn of the model's own chat format, with the model's turn opened.

        Raises:
            InvalidRequestError: the model has no chat format.
        """
        limits.check_size(text)
        return prompt_format.turn(
            self._library.tokenizer(self._library.find(model, token), token), text
        )

    def as_gap(
        self, before: str, after: str, model: str, token: str | None = None
    ) -> tuple[str, tuple[str, ...]]:
        """A prompt to fill the gap between two pieces of code, and the strings to stop at.

        Raises:
            InvalidRequestError: the model knows no fill-in-the-middle.
        """
        limits.check_size(before, after)
        tokenizer = self._library.tokenizer(self._library.find(model, token), token)
        return prompt_format.fim(tokenizer, before, after), prompt_format.fim_stop(tokenizer)
