"""The Models tab: the whole catalogue, what each precision takes, and what fits here.

Knows how the list is asked for and filtered, and how a name that is not in it is added. Choosing
and loading are `choosing`'s; the words are `present_models`'.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gemma_space.catalog import Checkpoint
from gemma_space.errors import GemmaSpaceError
from gemma_space.library import Library
from gemma_space.ui import present, present_models
from gemma_space.ui.about import AboutModel
from gemma_space.ui.access_lines import AccessLines
from gemma_space.ui.choosing import Choosing
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_card import ModelCard
from gemma_space.ui.present_models import Line
from gemma_space.ui.scripted import scripted

CONVERSATIONS = [("2K", 2048), ("8K", 8192), ("32K", 32_768), ("128K", 131_072)]
ALL_FAMILIES = "All families"
INTRO = (
    "<h2>Models</h2><p>What each precision takes in memory, together with one conversation. Press "
    "one to choose it.</p>"
)
REMOTE_INTRO = (
    "<h2>Models</h2><p>What the host's servers have, in the precision they chose. Press one to "
    "choose it.</p>"
)


@dataclass(frozen=True)
class ModelsTab:
    """The tab's components; those of another Gemma only where any is served."""

    tab: gr.Tab
    text: gr.Textbox
    family: gr.Dropdown
    only_fitting: gr.Checkbox
    tokens: gr.Radio
    name: gr.Textbox | None
    add: gr.Button | None
    added: gr.HTML | None
    check: gr.Button
    listing: gr.HTML
    card: ModelCard
    use: gr.Button
    about: AboutModel

    @classmethod
    def build(cls, library: Library, tab: gr.Tab, first: Checkpoint, lends: bool) -> "ModelsTab":
        """Lay the tab out: filters, the list, and below it what is chosen, always in sight.

        Args:
            first: the model that is chosen at first.
            lends: the deployer's access serves everyone.
        """
        here = not library.is_remote  # another server's memory is not this page's business
        gr.HTML(INTRO if here else REMOTE_INTRO, elem_classes="tab-intro")
        with gr.Row(elem_classes="model-filters"):
            text = gr.Textbox(
                label="Search", placeholder="12b instruct", max_lines=1, min_width=120, scale=2
            )
            family = gr.Dropdown(
                _families(library), value=ALL_FAMILIES, label="Family", filterable=False,
                min_width=120, elem_id="family",
            )  # fmt: skip
        with gr.Row(elem_classes="model-filters"):
            tokens = gr.Radio(
                CONVERSATIONS, value=8192, label="Conversation, in tokens",
                min_width=200, elem_id="conversation-tokens", visible=here,
            )  # fmt: skip
            only_fitting = gr.Checkbox(
                label="Only what fits",
                min_width=120,
                scale=0,
                elem_id="only-fitting",
                visible=here,
            )
        name, add, added = _another(library) if library.takes_any else (None, None, None)
        with gr.Row(elem_classes="check-access"):
            check = gr.Button(
                "Check access", size="sm", min_width=80, elem_id="check-access", visible=here
            )
            scripted("GemmaSpace.access.placeSummary(element);", elem_id="access-summary")
        shown = gr.HTML(
            '<p class="hint">Looking at this machine…</p>', elem_id="model-list",
            apply_default_css=False,
            js_on_load="GemmaSpace.models.mount(element, trigger);"
            "watch('value', GemmaSpace.models.draw);",
        )  # fmt: skip
        with gr.Column(elem_id="models-dock"):
            about = gr.HTML("", elem_classes="headline", apply_default_css=False)
            card = ModelCard.build(about, present_models.headline)
            with card.buttons:
                use = gr.Button(
                    "Chat with it", variant="primary", size="sm", min_width=100,
                    elem_id="chat-with-it",
                )  # fmt: skip
            about_model = AboutModel.build(first, lends)
        return cls(tab, text, family, only_fitting, tokens, name, add, added, check, shown, card,
                   use, about_model)  # fmt: skip


def _families(library: Library) -> list[str]:
    there = {present_models.group(row) for row in library.choices()}
    if library.takes_any:
        there.add(present_models.YOURS)
    return [ALL_FAMILIES, *(title for title in present_models.GROUPS if title in there)]


def _another(library: Library) -> tuple[gr.Textbox, gr.Button, gr.HTML]:
    with gr.Row(elem_classes="another-gemma"):
        name = gr.Textbox(
            label="Another Gemma",
            placeholder="owner/name" + ", or a folder on this machine" * library.takes_folders,
            max_lines=1, min_width=200,
        )  # fmt: skip
        add = gr.Button("Find it", size="md", min_width=80, scale=0)
    added = gr.HTML("", elem_id="another-result")
    return name, add, added


def wire(
    shown: ModelsTab, choosing: Choosing, access: AccessLines, tabs: gr.Tabs,
    changes: Sequence[Any],
) -> None:  # fmt: skip
    """Listen to the tab's own components.

    Args:
        changes: what triggers once other models are in memory, or another token acts.
    """
    panel = choosing.panel

    def on_list(values: Values) -> Updates:
        tokens, has_token = int(values[shown.tokens]), access.has_token(values)
        typed = _found(choosing.library, panel.remembered(values), values.token)
        return {shown.listing: _list(choosing.library, typed, tokens, values.token, has_token)}

    def on_use(values: Values) -> Updates:
        row = choosing.library.find(values[panel.model], values.token)
        return {tabs: gr.Tabs(selected="prompt" if row.variant == "base" else "chat")}

    for trigger in (shown.tab.select, shown.tokens.change, panel.typed.change, *changes):
        listen([trigger], on_list, {panel.typed, shown.tokens}, [shown.listing],
               trigger_mode="always_last")  # fmt: skip
    listen([shown.tab.select], None, js="() => GemmaSpace.access.askEvery(false)")
    listen([shown.check.click], None, js="() => GemmaSpace.access.askEvery(true)")
    choosing.listen_for_picks(shown.listing)
    listen([shown.use.click], on_use, {panel.model}, [tabs], on_error=choosing.pick_failed)
    _wire_filters(shown)
    _wire_another(shown, choosing)


def _wire_filters(shown: ModelsTab) -> None:
    """In the browser: each letter of a search shows at once."""
    for field, name in ((shown.text, "text"), (shown.family, "family"),
                        (shown.only_fitting, "fits")):  # fmt: skip
        js = f"(value) => GemmaSpace.models.filter({{ {name}: value }})"
        listen([field.change], None, {field}, js=js)


def _wire_another(shown: ModelsTab, choosing: Choosing) -> None:
    name, add, added = shown.name, shown.add, shown.added
    if name is None or add is None or added is None:
        return

    async def on_add(values: Values) -> AsyncGenerator[Updates]:
        text = (values[name] or "").strip()
        yield {added: present.looking(text) if text else ""}
        chosen = await asyncio.to_thread(choosing.choose, text, "auto", values)
        row = await asyncio.to_thread(choosing.library.find, text, values.token)
        yield {**chosen, name: "", added: present.found(row.title)}

    def failed(words: str, _values: Values) -> Updates:
        return {added: present.problem(words)}

    listen([add.click, name.submit], on_add, {*choosing.context(), name},
           [*choosing.choose_outputs(), name, added], on_error=failed)  # fmt: skip


def _list(
    library: Library, typed: Sequence[Checkpoint], tokens: int, token: str | None, has_token: bool
) -> str:
    loaded: dict[str, list[str]] = {}
    for one in library.status(token).loaded:
        loaded.setdefault(one.repo_id, []).append(one.precision)

    def line(row: Checkpoint, is_typed: bool = False) -> Line:
        return Line(row=row, fits=library.fits(row, tokens), typed=is_typed, has_token=has_token,
                    loaded=tuple(loaded.get(row.repo_id, ())))  # fmt: skip

    lines = [line(row, True) for row in typed]
    return present_models.model_list([*lines, *map(line, library.choices())], tokens)


def _found(library: Library, typed: Sequence[str], token: str | None) -> list[Checkpoint]:
    """The rows of names that were found before; what is gone by now is left out."""
    rows = []
    for name in typed:
        try:
            rows.append(library.find(name, token))
        except GemmaSpaceError:
            continue
    return rows
