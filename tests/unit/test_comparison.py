"""A comparison's values: histories, seeds, what is hidden, the files it is saved as."""

import json
from dataclasses import replace

from gemma_space import comparison_file
from gemma_space.comparison import Column, ColumnState, Comparison, level, parted
from gemma_space.errors import InvalidControlError
from gemma_space.reports import LoadProgress
from gemma_space.types import ChatRequest, CompletionRequest, Controls, FinishReason, Generation

WORDS = ("One ", "two ", "three ", "four ")


def state(
    count: int, reason: FinishReason | None = None, model: str = "m", problem: str = ""
) -> ColumnState:
    """A reply of so many words, each of them a token."""
    texts = ["".join(WORDS[: at + 1]) for at in range(count)]
    generation = Generation(
        text=texts[-1] if texts else "", finish_reason=reason, prompt_tokens=3,
        completion_tokens=count, cached_tokens=0, dropped_messages=0, seed=7, ttft_seconds=0.5,
        tokens_per_second=12.0, model=model, revision="r", precision="bf16", thinking="Hm",
        token_ids=tuple(range(count)),
    )  # fmt: skip
    return ColumnState(
        title="Title " + model, generation=generation, ends=tuple(map(len, texts)), vocabulary=1,
        weights_bytes=2048, problem=problem, done=bool(reason or problem),
    )  # fmt: skip


def chat(*states: ColumnState, blind: bool = False) -> Comparison:
    columns = [Column(model=f"m{at}") for at in range(len(states))]
    return Comparison.begin(columns, "chat", blind=blind).asking("Hello").told(states)


def test_each_column_has_its_own_history_and_what_failed_was_not_said() -> None:
    broken = state(2, problem="It broke.")
    asked = chat(
        state(1, "stop"), state(2, "length"), broken, ColumnState(problem="No.", done=True)
    )
    requests = asked.asking("More").requests()
    said = [[m.content for m in r.messages] for r in requests if isinstance(r, ChatRequest)]
    assert said == [["Hello", "One ", "More"], ["Hello", "One two ", "More"], ["More"], ["More"]]


def test_columns_share_a_seed_unless_they_have_their_own() -> None:
    columns = [Column(model="a"), Column(model="b", controls=Controls(seed=5), own=True)]
    drawn = Comparison.begin(columns, "raw", add_bos=False).asking(" text")
    first, second = drawn.requests()
    assert isinstance(first, CompletionRequest)
    assert isinstance(second, CompletionRequest)
    assert (first.prompt, first.add_bos) == (" text", False)
    assert first.controls.seed == drawn.seed
    assert second.controls.seed == 5
    assert Comparison.begin(columns, "raw", seed=0).seed == 0, "0 is a seed too"


def test_controls_that_cannot_be_read_are_one_columns_trouble() -> None:
    wrong = InvalidControlError("seed is no number.")
    made = Comparison.begin([Column(model="a"), Column(model="b", controls=wrong)], "chat")
    first, second = made.asking("Hello").requests()
    assert isinstance(first, ChatRequest)
    assert second is wrong


def test_stopped_columns_stay_as_far_as_they_came() -> None:
    asked = chat(state(2), state(3, "stop"), ColumnState(progress=LoadProgress(phase="load")))
    assert asked.running
    stopped = asked.stopped()
    assert not stopped.running
    first, second, third = stopped.exchanges[-1].states
    assert first.generation is not None
    assert first.generation.finish_reason == "cancelled"
    assert second == asked.exchanges[-1].states[1]
    assert third.progress is None
    found = parted(stopped.exchanges[-1].states)
    assert found.partings[1] is not None
    assert found.partings[1].kind == "so_far", "who was stopped might have gone on alike"


def test_the_first_reply_is_marked_where_any_other_leaves_it() -> None:
    later, earlier = state(4, "stop"), state(4, "stop")
    assert later.generation is not None
    reply = later.generation
    later = replace(later, generation=replace(reply, token_ids=(0, 1, 2, 9)))
    earlier = replace(earlier, generation=replace(reply, token_ids=(0, 8, 2, 3)))
    empty = ColumnState(problem="No.", done=True)
    found = parted([empty, state(4, "stop"), later, earlier, state(4, "stop")])
    assert found.reference == 1
    three, one = len("One two three "), len("One ")
    assert found.at == (None, one, three, one, None)
    assert found.partings[0] is None


# --- what is hidden -----------------------------------------------------------------------------


def test_nothing_shown_of_hidden_columns_tells_them_apart() -> None:
    loading = ColumnState(title="Slow", progress=LoadProgress(phase="load"), wave=1, note="Why")
    refused = ColumnState(title="Gated", problem="Gated is gated.", done=True)
    assert set(level([loading, state(3), refused, state(4, "stop")])) == {ColumnState()}
    shown = level([state(2), state(3), state(4, "stop"), state(1, "stop"), refused])
    texts = [one.generation.text for one in shown if one.generation is not None]
    assert texts == ["One two "] * 3 + ["One "], "none is further than the slowest that writes"
    assert [one.done for one in shown] == [False, False, False, True, False]
    over = level([state(2, "stop"), refused])
    assert over[0].done
    assert over[1].problem == "Gated is gated.", "that there is one is said once all are done"
    for one in (*shown, *over):
        assert (one.title, one.note, one.weights_bytes, one.vocabulary) == ("", "", 0, None)


def test_blind_columns_are_shuffled_and_open_ones_are_not() -> None:
    columns = [Column(model=f"m{at}") for at in range(4)]
    assert Comparison.begin(columns, "chat").order == (0, 1, 2, 3)
    orders = {Comparison.begin(columns, "chat", blind=True).order for _ in range(200)}
    assert len(orders) > 10
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_places_follow_the_order_once_revealed() -> None:
    asked = chat(state(1, "stop", "a"), state(1, "stop", "b"), blind=True)
    asked = replace(asked, order=(1, 0))
    assert {one.title for one in asked.places(asked.exchanges[0])} == {""}
    titles = [one.title for one in asked.revealed().places(asked.exchanges[0])]
    assert titles == ["Title b", "Title a"]
    assert asked.answered == (0, 1)


# --- files --------------------------------------------------------------------------------------


def test_files_hold_what_was_seen() -> None:
    refused = ColumnState(title="Gated", problem="Gated is gated.", done=True)
    asked = chat(state(4, "stop"), state(2, "stop", "a|b"), refused)
    document = json.loads(comparison_file.as_json(asked))
    (exchange,) = document["exchanges"]
    first, second, third = exchange["replies"]
    assert (first["column"], first["text"]) == ("A", "One two three four ")
    assert second["parts_from"] == {"column": "A", "how": "shorter", "same": 2, "unit": "token"}
    assert second["weights_bytes"] == 2048
    assert (third["problem"], third["parts_from"]) == ("Gated is gated.", None)
    text = comparison_file.as_markdown(asked)
    assert "> Hello" in text
    assert "### B: Title a|b, bf16\n\nOne two" in text
    assert "| B | a\\|b, bf16 | 0.50 s | 12 | 2 KiB | 3 | 2 | stop |" in text
    assert "*Gated is gated.*" in text


def test_a_long_comparison_takes_more_room() -> None:
    short = chat(state(1, "stop"))
    assert chat(state(4, "stop")).size == short.size == 1
    assert short.asking("w" * 50_000).size == 51
