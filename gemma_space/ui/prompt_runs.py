"""What the Prompt tab's events do: runs, branches of runs, scores, and the way back to a run.

Knows the order of things on the page. What a branch is, `runs` knows; how things read is in
`present_runs` and `token_view`. A run is kept on the server while the page is open.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

import gradio as gr

from gemma_space.pacing import paced
from gemma_space.reports import LoadProgress
from gemma_space.runs import Branch, Runs
from gemma_space.types import CompletionRequest, Generation, ScoreRequest, Scoring
from gemma_space.ui import present, present_runs, token_view
from gemma_space.ui.events import Updates, Values
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.prompt_widgets import LIKELIEST, PromptWidgets
from gemma_space.ui.workbench import Work
from gemma_space.use_cases import UseCases

STATE_SECONDS = 0.1
SCORED_STATE_SECONDS = 0.5  # each state of a score has all of its tokens again
VIEWED_TOKENS = 8192  # of a scored text, one by one; its perplexity is of all


@dataclass(frozen=True)
class PromptRuns:
    """The handlers, with what they work on."""

    tab: PromptWidgets
    playground: UseCases
    panel: ModelPanel

    # --- runs -----------------------------------------------------------------------------------

    async def on_run(self, values: Values) -> AsyncGenerator[Updates]:
        """Run the prompt."""
        yield self.begun(values)
        branch = Branch(request=self.tab.read(values, self.panel), kept=())
        async with aclosing(self.run(branch, values)) as updates:
            async for update in updates:
                yield update

    async def on_go_on(self, values: Values) -> AsyncGenerator[Updates]:
        """Take the output into the prompt, and run that; by its ids where the prompt was run so."""
        text = values[self.tab.result.completion] or ""
        longer = (values[self.tab.input.prompt] or "") + text
        run, ids = (
            self.work(values).runs.shown,
            self.tab.input.exact_ids(values, values[self.panel.model]),
        )
        shown = run.generation if run is not None else None
        # The ids of a stop string are not part of the text.
        if shown and shown.prompt_ids == ids and shown.finish_reason != "stop_string":
            ids = (*ids, *shown.token_ids)
        else:
            ids = ()
        taken = self.tab.input.show(longer, ids, values[self.panel.model])
        yield {**self.begun(values), **taken}
        request = replace(self.tab.read(values, self.panel), prompt=longer, token_ids=ids)
        async with aclosing(self.run(Branch(request=request, kept=()), values)) as updates:
            async for update in updates:
                yield update

    async def on_pick(self, values: Values, event: gr.EventData) -> AsyncGenerator[Updates]:
        """Run on from another token in the place of one."""
        run = self.work(values).runs.shown
        pick = token_view.read_pick(event._data, run.tokens) if run is not None else None
        if run is None or pick is None or pick.alternative is None:
            yield {self.tab.result.likeliest: gr.update()}
            return
        piece = run.tokens[pick.token]
        (instead,) = (other for other in piece.top if other.id == pick.alternative)
        yield {**self.begun(values), self.tab.result.tabs: gr.Tabs(selected="text")}
        async with aclosing(self.run(run.branch(pick.token, instead), values)) as updates:
            async for update in updates:
                yield update

    async def run(self, branch: Branch, values: Values) -> AsyncGenerator[Updates]:
        """Every state of a run, and at its end the run among the others.

        The run is kept from its first state on: Stop ends this at any place.
        """
        shown, before, last = self.tab.result, self.work(values).runs, None
        request, token = branch.request, values.token
        source = self.steps(lambda: self.playground.complete(request, token), request, token)
        async with aclosing(source) as steps:
            async for step in steps:
                if not isinstance(step, Generation):
                    yield step
                    continue
                last = step
                self.tab.bench.put(values, runs=before.add(branch.finished(step)))
                footer = present_runs.completion_footer(step)
                yield {shown.completion: step.text, shown.footer: footer}
        if last is not None:
            shows = shown.shown(self.work(values).runs)
            yield {**shows, **self.tab.sampling.used_seed(last.seed)}

    async def steps(
        self, source: Callable[[], Iterator[Any]], request: CompletionRequest | ScoreRequest,
        token: str | None, seconds: float = STATE_SECONDS,
    ) -> AsyncGenerator[Any]:  # fmt: skip
        """A use case's states, paced; a load is told by the footer."""
        row = await asyncio.to_thread(self.playground.library.find, request.model, token)
        async with aclosing(paced(source, seconds)) as steps:
            async for step in steps:
                if isinstance(step, LoadProgress):
                    yield {self.tab.result.footer: present.load_bar(step, row.title)}
                else:
                    yield step

    # --- scores ---------------------------------------------------------------------------------

    async def on_score(self, values: Values) -> AsyncGenerator[Updates]:
        """How likely the prompt is, token by token."""
        shown, asked = self.tab.result, self.tab.read(values, self.panel)
        request = ScoreRequest(
            text=asked.prompt, model=asked.model, precision=asked.precision,
            attention=asked.attention, add_bos=asked.add_bos, parse_special=asked.parse_special,
            top=LIKELIEST, token_ids=asked.token_ids,
        )  # fmt: skip
        yield {**self.begun(values), shown.tabs: gr.Tabs(selected="probabilities")}
        last: Scoring | None = None
        source = self.steps(
            lambda: self.playground.score(request, values.token), request, values.token,
            SCORED_STATE_SECONDS,
        )  # fmt: skip
        async with aclosing(source) as steps:
            async for step in steps:
                if not isinstance(step, Scoring):
                    yield step
                    continue
                last = step
                yield {shown.footer: present_runs.score_footer(step)}
        if last is not None:
            tokens = last.tokens[:VIEWED_TOKENS]
            self.tab.bench.put(values, scored=tokens)
            view = await asyncio.to_thread(token_view.probability_view, tokens, label="The prompt")
            listed = await asyncio.to_thread(
                token_view.token_list, tokens, title="Tokens of the prompt"
            )
            yield {shown.view: view, shown.tokens: listed, **shown.scored(self.work(values).runs)}

    # --- looking --------------------------------------------------------------------------------

    def on_look(self, values: Values, event: gr.EventData) -> Updates:
        """What else was likely at a token of the run or of the score."""
        work = self.work(values)
        tokens = work.scored or (work.runs.shown.tokens if work.runs.shown else ())
        pick = token_view.read_pick(event._data, tokens)
        if pick is None:
            return {self.tab.result.likeliest: gr.update()}
        grows = not work.scored and tokens[pick.token].id >= 0  # a branch is made of ids
        found = token_view.alternatives(tokens[pick.token], pick.token, branches=grows)
        return {self.tab.result.likeliest: found}

    def on_open(self, values: Values) -> Updates:
        """Return to a run: what was asked and what came."""
        at = values[self.tab.result.others]
        runs = self.work(values).runs.open(at if isinstance(at, int) else -1)
        self.tab.bench.put(values, runs=runs, scored=())
        return self._returned(values, runs)

    def on_undo(self, values: Values) -> Updates:
        """Take the last run back, and return to the one before it."""
        runs = self.work(values).runs.undo()
        self.tab.bench.put(values, runs=runs, scored=())
        return self._returned(values, runs)

    def _returned(self, values: Values, runs: Runs) -> Updates:
        back = self._return(runs)
        rested = self.tab.idle(Values({**values, **cast(dict[Any, Any], back)}))
        return {**rested, **back}

    def on_over(self, values: Values) -> Updates:
        """Nothing is on its way any more; a run that was broken off is one as far as it came.

        A page that has neither a run nor a score to show by now shows the last run again.
        """
        work, shown = self.work(values), self.tab.result
        run, footer = work.runs.shown, values[shown.footer]
        if run is None or work.scored:
            return self.tab.idle(values)
        is_cut, failed = run.generation.finish_reason is None, present.is_problem(footer)
        is_there = bool(values[shown.completion]) or not run.generation.text
        if is_there and not is_cut and not failed:
            return self.tab.idle(values)
        runs = work.runs.broken_off(failed)
        self.tab.bench.put(values, runs=runs)
        back = shown.shown(runs)
        updates = {**self.tab.idle(Values({**values, **cast(dict[Any, Any], back)})), **back}
        if is_cut and run.came:
            updates |= self.tab.sampling.used_seed(run.generation.seed)
        if failed or not is_cut:
            updates[shown.footer] = present_runs.settled_footer(footer)
        elif not run.came:
            updates[shown.footer] = present_runs.NO_TOKEN_CAME
        return updates

    def begun(self, values: Values) -> Updates:
        """Something is on its way: a score that was shown is gone."""
        self.tab.bench.put(values, scored=())
        return self.tab.running()

    def work(self, values: Values) -> Work:
        """What the page works on."""
        return self.tab.bench.of(values)

    def _return(self, runs: Runs) -> Updates:
        updates = self.tab.result.shown(runs)
        if runs.shown is None:
            return updates
        request = runs.shown.request
        ids = request.token_ids if not request.begins_with else ()
        return {
            **updates,
            **self.tab.input.show(request.prompt, ids, request.model),
            self.tab.input.add_bos: request.add_bos,
            self.tab.input.parse_special: request.parse_special,
        }

    def failed(self, text: str, _values: Values, *_: Any) -> Updates:
        """An error stands where the footer does."""
        return {self.tab.result.footer: present.problem(text)}
