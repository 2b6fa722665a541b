"""Conversations: which question follows which, and what the answer then is.

A conversation is a list of (user text, model text). Knows topics and follow-ups; knows nothing of
tokens.
"""

from collections.abc import Iterator, Set
from random import Random

from training.grammar import choose, lines, normalise
from training.noise import Noise
from training.topics import Corpus, Topic

Turn = tuple[str, str]
PRECISIONS = {
    "precision.int4": ["int4", "4 bit", "nf4"],
    "precision.int8": ["int8", "8 bit"],
    "precision.bf16": ["bf16", "bfloat16"],
    "precision.fp16": ["fp16", "float16"],
    "precision.fp32": ["fp32", "float32"],
    "precision.auto": ["auto"],
}
CONTROLS = {
    "control.temperature": ["temperature", "the temperature"],
    "control.top_p": ["top p", "top_p"],
    "control.top_k": ["top k", "top_k"],
    "control.min_p": ["min p", "min_p"],
    "control.seed": ["the seed", "seed"],
    "control.repetition": ["the repetition penalty", "repetition penalty"],
    "control.stop_strings": ["stop strings"],
    "app.privacy": ["privacy", "my data"],
    "app.api": ["the api", "an api"],
    "memory.gpu": ["a gpu", "the gpu"],
    "access.licence": ["the licence", "commercial use"],
    "gemma.images": ["images", "pictures", "audio"],
    "gemma.languages": ["languages", "other languages"],
    "app.export": ["export"],
    "memory.speed": ["speed", "the speed"],
}
FACETS = {
    "memory": "memory",
    "precision": "memory",
    "context": "context",
    "licence": "licence",
    "gemma.context": "context",
    "concept.context": "context",
    "access.licence": "licence",
    "access.gated": "licence",
}
GENERIC = ["more", "why", "example", "simple", "how"]


class Conversations:
    """An endless supply of conversations; a held-out wording never appears in one."""

    def __init__(self, corpus: Corpus, rng: Random, held_out: Set[str] = frozenset()) -> None:
        self.corpus, self.rng, self.held_out = corpus, rng, held_out
        self.noise = Noise(corpus.wording)
        self.asked = [topic for topic in corpus.topics.values() if topic.asks]
        self.weights = [topic.weight for topic in self.asked]
        self.followups = {k: lines(v) for k, v in corpus.wording["followups"].items()}
        self.systems = {k: lines(v) for k, v in corpus.wording["systems"].items()}
        self.no_more = corpus.wording["nothing_more"]["answer"]

    def single(self) -> list[Turn]:
        """One question and its answer, sometimes under a system prompt."""
        topic, question = self.question()
        if self.rng.random() < 0.012:
            return [(self._long_text(), self.corpus.topics["other.long"].answer)]
        if self.rng.random() < 0.2:
            return [self._under_system(topic, question)]
        if self.rng.random() < 0.012:
            kind = self.rng.choice(GENERIC)
            wording = choose(self.rng.choice(self.followups[kind]), self.rng)
            return [
                (self.noise.vary(wording, self.rng, 0.7), self.corpus.topics["bare.more"].answer)
            ]
        return [(question, topic.answer)]

    def dialogue(self, turns: int) -> list[Turn]:
        """Several turns that stay with a topic for a while and then move on."""
        topic, question = self.question()
        prefix, brief = "", False
        if self.rng.random() < 0.25:
            kind = self.rng.choice(["plain", "plain", "brief"] if turns < 7 else ["plain"])
            prefix, brief = self._system(kind) + "\n\n", kind == "brief"
        done: list[Turn] = [(prefix + question, topic.brief if brief else topic.answer)]
        depth = 0
        while len(done) < turns:
            if self.rng.random() < 0.5:
                question, answer, topic, depth = self._follow(topic, depth)
            else:
                topic, question = self.question()
                answer, depth = topic.brief if brief else topic.answer, 0
            done.append((question, answer))
        return done

    def completions(self) -> Iterator[tuple[str, str]]:
        """Raw texts: (beginning, continuation)."""
        starts, text = self.rng.choice(self.corpus.completions)
        start = self.rng.choice(starts)
        if len(starts) > 8 and self.rng.random() < 0.6:  # the fallback takes any beginning
            subject = self.rng.choice(self.corpus.topics["other.facts"].subjects)
            pattern = ["{} {}", "{} {} is", "{} the {}", "{} most {} are", "{}, {}"]
            start = self.rng.choice(pattern).format(start, subject)
        yield start, text

    def question(self) -> tuple[Topic, str]:
        while True:
            [topic] = self.rng.choices(self.asked, self.weights)
            question = self.noise.vary(topic.ask(self.rng), self.rng)
            if normalise(question) not in self.held_out:
                return topic, question

    def _long_text(self) -> str:
        sentences = [self.question()[1].rstrip("?.! ") for _ in range(self.rng.randint(9, 40))]
        text = ". ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)
        task = self.rng.choice(
            ["", "", "Summarise this: ", "Fix this text:\n", "What about this? "]
        )
        return task + text + self.rng.choice([".", "", "\n\nWhat do you think?", ". Summarise."])

    def _system(self, kind: str) -> str:
        lines_ = self.systems[kind]
        text = choose(self.rng.choice(lines_), self.rng)
        if kind == "plain" and self.rng.random() < 0.3:
            text += " " + choose(self.rng.choice(lines_), self.rng)
        return text

    def _under_system(self, topic: Topic, question: str) -> Turn:
        kind = self.rng.choice(["plain", "plain", "brief", "brief", "pirate"])
        answer = {"plain": topic.answer, "brief": topic.brief, "pirate": "Arr! " + topic.answer}
        return f"{self._system(kind)}\n\n{question}", answer[kind]

    def _follow(self, topic: Topic, depth: int) -> tuple[str, str, Topic, int]:
        if self.rng.random() < 0.3:
            return self._other_entity(topic)
        kind = self.rng.choices(GENERIC, [4, 2, 2, 2, 2])[0]
        question = self._vary_followup(kind, "")
        if kind == "more":
            return question, topic.more if depth == 0 else self.no_more, topic, depth + 1
        return question, self.corpus.followups[topic.group][kind], topic, depth

    def _other_entity(self, topic: Topic) -> tuple[str, str, Topic, int]:
        if self.rng.random() < 0.45:
            family = self.rng.choice(list(self.corpus.families))
            facet = FACETS.get(topic.id) or FACETS.get(topic.group, "about")
            names = self.corpus.families[family]
            target = self.corpus.topics[f"{facet}.{family}"]
        else:
            table = self.rng.choice([PRECISIONS, CONTROLS])
            target_id = self.rng.choice(list(table))
            names, target = table[target_id], self.corpus.topics[target_id]
        return self._vary_followup("entity", self.rng.choice(names)), target.answer, target, 0

    def _vary_followup(self, kind: str, entity: str) -> str:
        while True:
            wording = choose(self.rng.choice(self.followups[kind]), self.rng)
            text = self.noise.vary(wording.replace("{x}", entity), self.rng, 0.5)
            if normalise(text) not in self.held_out:
                return text
