"""`python -m training`: corpus to tokenizer to weights to model card.

With `--adapter`: the same corpus to a LoRA adapter for those weights.
"""

import argparse
import json
from itertools import islice
from pathlib import Path
from random import Random

import torch

from training.adapter import FOLDER as ADAPTER_FOLDER
from training.adapter import VoicedConversations, evaluate, train_adapter, write_adapter_card
from training.card import write_card
from training.checkpoint import FOLDER, load, make_model, save
from training.dialogues import Conversations
from training.evaluation import HELD_OUT, Score, score_conversations, score_paraphrases
from training.fit import Outcome, Plan, fit, total
from training.grammar import normalise
from training.rows import ANSWERS, QUESTIONS, TALKS, Mixture, Rows, make_batches
from training.topics import load_corpus
from training.vocabulary import learn_tokenizer
from training.word_vectors import warm_start

SEED = 20
FIRST = Plan(tokens=1_700_000, peak_rate=2.5e-3, warmup=0.08, decay=0.0)
SECOND = Plan(tokens=3_000_000, peak_rate=1.8e-3, warmup=0.01, decay=0.7, stop=0.82)
THIRD = Plan(tokens=7_000_000, peak_rate=1.3e-3, warmup=0.01, decay=0.95)


def held_out_wordings() -> frozenset[str]:
    """Questions kept for the evaluation; none of them may be trained on."""
    if not HELD_OUT.exists():
        return frozenset()
    rows = json.loads(HELD_OUT.read_text("utf-8"))["paraphrases"]
    return frozenset(normalise(row["prompt"]) for row in rows)


def _train(plans: list[tuple[Mixture, Plan]], folder: Path) -> Outcome:
    torch.manual_seed(SEED)
    rng = Random(SEED)
    corpus = load_corpus()
    conversations = Conversations(corpus, rng, held_out_wordings())
    questions = [turns[0][0] for turns in islice(iter(conversations.single, None), 30_000)]
    tokenizer = learn_tokenizer([*corpus.texts() * 20, *questions])
    rows = Rows(tokenizer, rng)
    model = make_model(len(tokenizer))
    accuracy = warm_start(model, tokenizer, conversations, steps=700)
    print(f"word vectors: {accuracy:.1%} of the questions to the right topic", flush=True)
    outcomes = []
    for mixture, plan in plans:
        batches = make_batches(mixture.rows(conversations, rows, rng))
        outcomes.append(fit(model, batches, plan, lambda: save(model, tokenizer, folder)))
    save(model, tokenizer, folder)
    return total(outcomes)


def _resume(folder: Path, out: Path) -> Outcome:
    rng = Random(SEED + 2)
    conversations = Conversations(load_corpus(), rng, held_out_wordings())
    model, tokenizer = load(folder)
    batches = make_batches(TALKS.rows(conversations, Rows(tokenizer, rng), rng))
    outcome = fit(model, batches, THIRD, lambda: save(model, tokenizer, out))
    save(model, tokenizer, out)
    return outcome


def _evaluate(folder: Path) -> tuple[Score, Score]:
    model, tokenizer = load(folder)
    scores = score_paraphrases(model, tokenizer), score_conversations(model, tokenizer)
    for score, title in zip(scores, ["paraphrases", "conversations"], strict=True):
        print(f"{title}: {score.right}/{score.total} on topic, {score.ended} ended")
        for prompt, reply in score.misses:
            print(f"  missed: {prompt!r} -> {reply[:100]!r}")
    return scores


def _adapt(folder: Path) -> Outcome:
    torch.manual_seed(SEED)
    rng = Random(SEED + 3)
    conversations = VoicedConversations(load_corpus(), rng, held_out_wordings())
    return train_adapter(conversations, rng, folder)


def _main_adapter(folder: Path, only_evaluate: bool) -> None:
    if only_evaluate:
        evaluate(folder)
        return
    outcome = _adapt(folder)
    print(outcome)
    write_adapter_card(folder, outcome, evaluate(folder))


def main() -> None:
    """Train, evaluate and describe the checkpoint, or the adapter."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--resume", type=Path, help="do only the last stage, from this folder")
    parser.add_argument("--adapter", action="store_true", help="the adapter, not the checkpoint")
    parser.add_argument("--out", type=Path, help="folder to write; the one in assets by default")
    parser.add_argument("--evaluate", action="store_true", help="only score what is there")
    parser.add_argument("--threads", type=int, default=1, help="more only help on idle cores")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.adapter:
        _main_adapter(options.out or ADAPTER_FOLDER, options.evaluate)
        return
    folder = options.out or FOLDER
    if options.evaluate:
        _evaluate(folder)
        return
    if options.resume:
        outcome = _resume(options.resume, folder)
    else:
        outcome = _train([(ANSWERS, FIRST), (QUESTIONS, SECOND), (TALKS, THIRD)], folder)
    print(outcome)
    model, _ = load(folder)
    write_card(folder, model, outcome, *_evaluate(folder))


if __name__ == "__main__":
    main()
