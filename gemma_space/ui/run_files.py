"""What a run leaves the page as, and comes back from: code, a capsule file, a link.

Knows the widgets and when each is made. How they are written is in `snippets`, `capsule` and
`share_link`; the browser saves, opens and copies (`assets/js/capsule.js`, `link.js`).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gemma_space import (
    call_snippets,
    capsule,
    replay,
    share_link,
    snippets,
    surroundings,
    tokens,
)
from gemma_space.errors import InvalidRequestError
from gemma_space.runs import Branch, Run
from gemma_space.ui import present, present_runs
from gemma_space.ui.choosing import Choosing
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.prompt_runs import PromptRuns
from gemma_space.ui.prompt_widgets import LIKELIEST, PromptWidgets
from gemma_space.ui.scripted import for_script, heard, scripted

LANGUAGES = ("Python, transformers", "Python, gradio_client", "curl")
NO_RUN = "There is no run yet."
AGAIN = '<p class="hint">Running it again…</p>'
EXPLAINED = (
    '<p class="hint">A capsule is a file with everything a run depended on: model and commit, '
    "precision, library versions, controls, seed, and the tokens in and out. Whoever opens it can "
    "run it again and sees whether the same comes out.</p>"
)


@dataclass(frozen=True)
class RunFiles:
    """The components.

    Attributes:
        page_url: unseen; the page's own address, told by the browser.
        link_told: what became of a link that was followed; stands where the tab begins.
    """

    language: gr.Radio
    code: gr.Code
    page_url: gr.Textbox
    save: gr.Button
    saved: gr.HTML
    files: gr.HTML
    replay: gr.Button
    told: gr.HTML
    link: gr.Button
    linked: gr.HTML
    followed: gr.HTML
    link_told: gr.HTML

    @classmethod
    def build(cls, followed: gr.HTML, link_told: gr.HTML, replay: gr.Button) -> "RunFiles":
        """Lay them out; `followed` stands outside the tabs, which are mounted when opened."""
        with gr.Row(elem_classes="link-row"):
            link = gr.Button("Copy a link to this prompt", size="sm", min_width=180)
            scripted("GemmaSpace.link.place(element);", elem_id="link-status")
        with gr.Accordion("Code for this run", open=False, elem_id="run-code"):
            language = gr.Radio(
                list(LANGUAGES), value=LANGUAGES[0], show_label=False, label="Language"
            )
            code = gr.Code(
                NO_RUN, language="python", show_label=False, label="Code", interactive=False,
                wrap_lines=True, max_lines=40,
            )  # fmt: skip
        with gr.Accordion("Replay capsule", open=False, elem_id="capsule"):
            gr.HTML(EXPLAINED)
            with gr.Row(elem_classes="capsule-buttons"):
                save = gr.Button("Save this run as a capsule", size="sm", min_width=180)
                files = scripted(
                    "GemmaSpace.capsule.mount(element, trigger);", elem_id="open-capsule"
                )
                replay.render()
            told = gr.HTML("", elem_id="capsule-told")
        page_url = gr.Textbox("", visible="hidden")
        saved = heard("GemmaSpace.capsule.save(props.value);")
        linked = heard("GemmaSpace.link.made(props.value);")
        return cls(language, code, page_url, save, saved, files, replay, told, link, linked,
                   followed, link_told)  # fmt: skip

    def wire(self, runs: PromptRuns) -> Any:
        """Wire what a run is written as.

        Returns:
            the event that replays one.
        """
        shown, panel = runs.tab.result, runs.panel
        listen([], None, js="() => location.origin + location.pathname", outputs=[self.page_url])

        def on_code(values: Values) -> Updates:
            run = runs.work(values).runs.shown
            if run is None:
                return {self.code: NO_RUN}
            language = values[self.language]
            if language == LANGUAGES[0]:
                run.require_ids()
            facts = _facts(runs, run, values.token)
            if language == LANGUAGES[0]:
                text = snippets.transformers_code(run, facts)
            elif language == LANGUAGES[1]:
                text = call_snippets.client_code(run, facts, values[self.page_url])
            else:
                text = call_snippets.curl_code(run, facts, values[self.page_url])
            kind = "shell" if language == LANGUAGES[2] else "python"
            return {self.code: gr.update(value=text, language=kind)}

        def uncoded(text: str, _values: Values) -> Updates:
            return {self.code: text}

        def on_save(values: Values) -> Updates:
            run = runs.work(values).runs.shown
            if run is None:
                raise InvalidRequestError(NO_RUN, "Run the prompt first.")
            run.require_ids()
            document = capsule.to_json(run, _surroundings(runs, run, values.token))
            return {self.saved: for_script({"document": document, "stamp": time.time_ns() // 1000}),
                    self.told: ""}  # fmt: skip

        def on_link(values: Values) -> Updates:
            asked = runs.tab.read(values, panel)
            defaults = runs.playground.default_params(asked.model, values.token)
            state = share_link.SharedPrompt(
                prompt=asked.prompt, model=asked.model, precision=asked.precision,
                add_bos=asked.add_bos, parse_special=asked.parse_special,
                controls=share_link.differing(asked.controls, defaults),
            )  # fmt: skip
            return _link(fragment=share_link.encode(state))

        def _link(**told: str) -> Updates:
            return {self.linked: for_script({**told, "stamp": time.time_ns() // 1000})}

        def unlinked(text: str, _values: Values) -> Updates:
            return _link(problem=text)

        def untold(text: str, *_: Any) -> Updates:
            return {self.told: present.problem(text)}

        needs = {runs.tab.bench.key, self.language, self.page_url}
        listen([shown.stamp.change, self.language.change], on_code, needs, [self.code],
               on_error=uncoded)  # fmt: skip
        listen(
            [self.save.click],
            on_save,
            {runs.tab.bench.key},
            [self.saved, self.told],
            on_error=untold,
        )
        listen([self.link.click], on_link, runs.tab.inputs(panel), [self.linked],
               on_error=unlinked)  # fmt: skip
        return self._wire_replay(runs)

    def _wire_replay(self, runs: PromptRuns) -> Any:
        shown = runs.tab.result

        async def on_replay(values: Values) -> AsyncGenerator[Updates]:
            kept = runs.work(values).capsule
            if kept is None:
                raise InvalidRequestError("No capsule is open.", "Open a capsule file first.")
            yield {**runs.begun(values), self.told: AGAIN}
            branch = Branch(request=kept.request(LIKELIEST), kept=())
            async with aclosing(runs.run(branch, values)) as updates:
                async for update in updates:
                    yield update
            run = runs.work(values).runs.shown
            if run is None or run.generation.finish_reason is None:
                return
            found = await asyncio.to_thread(_compared, runs, kept, run, values.token)
            yield {self.told: present_runs.comparison(found)}

        def failed(text: str, values: Values, *_: Any) -> Updates:
            return {**runs.failed(text, values), self.told: ""}

        outputs = [*runs.tab.running(), *shown.outputs(), *runs.tab.sampling.used_outputs(),
                   self.told]  # fmt: skip
        replayed = listen(
            [self.replay.click], on_replay, runs.tab.inputs(runs.panel),
            list(dict.fromkeys(outputs)), on_error=failed, generates=True,
        )  # fmt: skip

        def on_end(values: Values) -> Updates:
            stopped = values[self.told] == AGAIN
            return {self.told: "" if stopped else gr.update()}

        listen([replayed.then], on_end, {self.told}, [self.told])
        return replayed

    def wire_choice(self, choosing: Choosing, tab: PromptWidgets, tabs: gr.Tabs) -> None:
        """Let an opened capsule or a followed link set the tab, the model and the precision."""

        def prompt_of(asked: Any, ids: tuple[int, ...] = ()) -> Updates:
            return {
                **tab.input.show(asked.prompt, ids, asked.model),
                tab.input.add_bos: asked.add_bos,
                tab.input.parse_special: asked.parse_special,
                tabs: gr.Tabs(selected="prompt"),
            }

        def restored(values: Values, asked: Any, controls: Any, **ids: Any) -> Updates:
            chosen = choosing.choose(asked.model, str(asked.precision), values)
            kept = tab.keep(asked.model, controls)
            return {**chosen, **prompt_of(asked, **ids), **kept, self.told: "", self.link_told: ""}

        def known(values: Values, model: str) -> bool:
            """Whoever wrote it must not decide what this visitor's token is used for."""
            listed = (row.repo_id for row in choosing.library.choices())
            return model in (*listed, *choosing.panel.remembered(values))

        def unknown(model: str) -> str:
            return (
                f"Its model, {model[:100]}, is not in the list here, so yours was kept. Add it "
                "in the Models tab, then open this again."
            )

        def on_file(values: Values, event: gr.EventData) -> Updates:
            kept = capsule.read(_told(event, "document"))
            request = kept.request()
            if not known(values, request.model):
                return {**prompt_of(request), **unopened(unknown(request.model))}
            shown = restored(values, request, request.controls, ids=request.token_ids)
            tab.bench.put(values, capsule=kept)
            return {**shown, self.told: present_runs.opened(kept),
                    self.replay: gr.update(visible=True)}  # fmt: skip

        def on_link(values: Values, event: gr.EventData) -> Updates:
            asked = share_link.read(_told(event, "run"))
            if not known(values, asked.model):
                return {**prompt_of(asked), **unfollowed(unknown(asked.model))}
            return restored(values, asked, asked.controls)

        def unopened(text: str, *_: Any) -> Updates:
            return {self.told: present.problem(text)}

        def unfollowed(text: str, *_: Any) -> Updates:
            return {self.link_told: present.problem(text), tabs: gr.Tabs(selected="prompt")}

        needs = {*choosing.context(), tab.bench.key}
        outputs = [
            *choosing.choose_outputs(), *tab.input.components(), tab.input.add_bos,
            tab.input.parse_special, tab.refill, tabs, self.told, self.link_told,
        ]  # fmt: skip
        listen([self.files.select], on_file, needs, [*outputs, self.replay],
               on_error=unopened)  # fmt: skip
        listen([self.followed.select], on_link, needs, outputs, on_error=unfollowed)
        listen([tab.run.click], lambda: {self.link_told: ""}, outputs=[self.link_told])


def _told(event: gr.EventData, name: str) -> Any:
    data = event._data
    return data.get(name, "") if isinstance(data, Mapping) else ""


def _tokenizer(runs: PromptRuns, run: Run, token: str | None) -> Any:
    library = runs.playground.library
    return library.tokenizer(library.find(run.generation.model, token), token)


def _facts(runs: PromptRuns, run: Run, token: str | None) -> snippets.Facts:
    return snippets.Facts(
        row=runs.playground.library.find(run.generation.model, token),
        tokenizer=_tokenizer(runs, run, token),
        defaults=runs.playground.default_params(run.generation.model, token),
        base_revision=run.generation.base_revision,
    )


def _surroundings(runs: PromptRuns, run: Run, token: str | None) -> surroundings.Surroundings:
    device = runs.playground.library.status(token).device
    generation = run.generation
    return surroundings.present(
        device, _tokenizer(runs, run, token), generation.precision, generation.base_revision
    )


def _compared(
    runs: PromptRuns, kept: capsule.Capsule, run: Run, token: str | None
) -> replay.Comparison:
    tokenizer, now = _tokenizer(runs, run, token), _surroundings(runs, run, token)
    return replay.compare(kept, run, now, lambda i: _name(tokenizer, i))


def _name(tokenizer: Any, token_id: int) -> str:
    """The text of an id, which may come from anybody's file."""
    return tokens.pieces(tokenizer, (token_id,))[0].text
