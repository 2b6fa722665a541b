"""The Prompt tab: a raw text, continued exactly as it was typed.

Puts widgets, runs and files together, and follows the chosen model. Does not know templates:
nothing is added to the prompt but the BOS that the switch asks for.
"""

from typing import Any

import gradio as gr

from gemma_space.ui import present
from gemma_space.ui.choosing import Choosing
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.prompt_runs import PromptRuns
from gemma_space.ui.prompt_widgets import PromptWidgets
from gemma_space.ui.run_files import RunFiles
from gemma_space.use_cases import UseCases


class PromptTab:
    """The tab, built inside the block at hand.

    Args:
        playground: what it asks.
        panel: which model.
        tabs: the page's.
        followed: unseen, outside the tabs; `select` fires when a link's prompt arrives.
    """

    def __init__(
        self, playground: UseCases, panel: ModelPanel, tabs: gr.Tabs, followed: gr.HTML
    ) -> None:
        self._playground, self._panel, self._tabs = playground, panel, tabs
        with gr.Column(elem_id="prompt-tab"):
            link_told = gr.HTML("", elem_id="link-told")
            self.widgets = PromptWidgets.build(playground)
            self._files = RunFiles.build(followed, link_told, self.widgets.replay)

    @property
    def target(self) -> Any:
        """Where a prompt from elsewhere on the page is put."""
        return self.widgets.input

    def wire(self) -> list[Any]:
        """Wire it to the playground.

        Returns:
            the events that use models.
        """
        self.widgets.bench.wire()
        self.widgets.sampling.wire()
        runs = PromptRuns(self.widgets, self._playground, self._panel)
        events = self._wire_runs(runs)
        replay = self._files.wire(runs)
        self._wire_prompt()
        self._wire_model()
        self._settle(runs, [*events, replay])
        return [*events, replay]

    def wire_files(self, choosing: Choosing) -> None:
        """Let capsules and links choose the model they were made with."""
        self._files.wire_choice(choosing, self.widgets, self._tabs)

    def _wire_runs(self, runs: PromptRuns) -> list[Any]:
        tab, shown = self.widgets, self.widgets.result
        inputs = tab.inputs(self._panel)
        outputs = [*tab.running(), *shown.outputs(), shown.tabs, *tab.input.components(),
                   *tab.sampling.used_outputs()]  # fmt: skip
        outputs = list(dict.fromkeys(outputs))
        starts = (
            (tab.run.click, runs.on_run), (tab.go_on.click, runs.on_go_on),
            (shown.likeliest.select, runs.on_pick), (tab.score.click, runs.on_score),
        )  # fmt: skip
        events = [
            listen([start], handler, inputs, outputs, on_error=runs.failed, generates=True)
            for start, handler in starts
        ]
        listen([shown.view.select], runs.on_look, {tab.bench.key}, [shown.likeliest])
        back = [*shown.outputs(), *tab.input.components(), tab.input.add_bos,
                tab.input.parse_special]  # fmt: skip
        back_and_idle = list(dict.fromkeys([*back, *tab.idle_parts()]))
        listen([shown.others.input], runs.on_open, {*inputs, shown.others}, back_and_idle)
        listen([tab.undo.click], runs.on_undo, inputs, back_and_idle, trigger_mode="multiple")
        return events

    def _settle(self, runs: PromptRuns, events: list[Any]) -> None:
        tab, shown = self.widgets, self.widgets.result
        inputs = {tab.bench.key, shown.completion, shown.footer}
        outputs = list(
            dict.fromkeys([*tab.idle_parts(), *shown.outputs(), *tab.sampling.used_outputs()])
        )
        for event in events:  # `.then` follows success, error and Stop alike
            listen([event.then], runs.on_over, inputs, outputs)
        listen([tab.stop.click], None, cancels=events)

    def _wire_prompt(self) -> None:
        tab, panel, playground = self.widgets.input, self._panel, self._playground
        length = self.widgets.sampling.sliders["max_new_tokens"]

        def on_count(values: Values) -> Updates:
            if not values[tab.prompt]:  # nobody is waiting for a tokenizer to be fetched
                return {tab.count: "", tab.tokens: ""}
            model, token = values[panel.chosen], values.token
            found = playground.prompts.inspect(
                values[tab.prompt], model, add_bos=values[tab.add_bos],
                parse_special=values[tab.parse_special], exact=tab.exact_ids(values, model),
                token=token,
            )  # fmt: skip
            limit = playground.library.find(model, token).context_length
            return tab.counted(found, limit, int(values[length]))

        # A run goes on without counting where another server makes the tokens.
        said = present.aside if playground.library.is_remote else present.problem

        def uncounted(text: str, _values: Values) -> Updates:
            return {tab.count: said(text), tab.tokens: ""}

        # While one count is under way only the newest text waits for the next. Of two changes at
        # once one would be lost: ids come with a text, and before it.
        listen(
            [tab.prompt.change, tab.add_bos.change, tab.parse_special.change,
             panel.chosen.change, length.change],
            on_count, {*tab.inputs(), panel.chosen, length}, [tab.count, tab.tokens, tab.fim],
            on_error=uncounted, trigger_mode="always_last",
        )  # fmt: skip

        def on_turn(values: Values) -> Updates:
            text, model = values[tab.prompt] or "", values[panel.chosen]
            return tab.show(playground.prompts.as_turn(text, model, values.token))

        def on_fim(values: Values) -> Updates:
            before, after = values[tab.prompt] or "", values[tab.fim_after] or ""
            written, stop = playground.prompts.as_gap(
                before, after, values[panel.chosen], values.token
            )
            return {**tab.show(written), tab.fim_after: "", stops: "\n".join(stop)}

        needs, stops = {tab.prompt, tab.fim_after, panel.chosen}, self.widgets.sampling.stop
        outputs = [*tab.components(), tab.fim_after, tab.count, tab.tokens, stops]
        listen([tab.insert_turn.click], on_turn, needs, outputs, on_error=uncounted)
        listen([tab.insert_fim.click], on_fim, needs, outputs, on_error=uncounted)

    def _wire_model(self) -> None:
        tab, panel, playground = self.widgets, self._panel, self._playground

        def on_model(values: Values) -> Updates:
            model, token = values[panel.chosen], values.token
            without = playground.library.unfollowed(playground.library.find(model, token))
            defaults, most = (
                playground.default_params(model, token),
                playground.max_new_tokens(model, token),
            )
            return tab.controls(values, model, defaults, most, without)

        def on_reset(values: Values) -> Updates:
            return on_model(Values({**values, tab.refill: ""}, token=values.token))

        def on_kind(values: Values) -> Updates:
            row = playground.library.find(values[panel.chosen], values.token)
            return {tab.input.insert_turn: gr.update(visible=row.variant != "base")}

        needs, outputs = {panel.chosen, tab.refill}, [*tab.sampling.outputs(), tab.refill]
        listen([panel.chosen.change, tab.refill.change], on_model, needs, outputs)
        listen([tab.reset.click], on_reset, needs, outputs)
        if playground.library.is_remote:  # what a server can do is not known when the page is built
            listen([], on_model, needs, outputs)
        listen([panel.chosen.change], on_kind, {panel.chosen}, [tab.input.insert_turn])
