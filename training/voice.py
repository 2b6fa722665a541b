"""A plain answer as a pirate would give it.

Knows English words and Markdown; knows nothing of topics, tokens or models. The same text always
gets the same voice, different texts end differently and different questions are hailed differently.
"""

import re
from zlib import crc32

# What names something keeps its spelling, and so do a few phrases that people look for.
_KEPT = re.compile(
    r"```.*?```"  # fenced code
    r"|`[^`\n]+`"
    r"|!?\[[^\]\n]*\]\([^)\s]*\)"  # links and pictures
    r"|\*\*[^*\n]+\*\*|\*[^*\s][^*\n]*\*"  # bold names, quoted examples
    r"|\S*(?:[/_]|\w\.\w)\S*"  # addresses, paths, variables, decimals
    r"|\bthank you\b|\bmeet you\b|\bfor example\b",
    re.DOTALL | re.IGNORECASE,
)
_WORDS = {
    "am": "be", "are": "be", "is": "be", "i'm": "I be", "isn't": "ain't", "aren't": "ain't",
    "you": "ye", "your": "yer", "yours": "yers", "yourself": "yerself", "my": "me",
    "myself": "meself", "for": "fer", "them": "'em", "before": "afore", "between": "betwixt",
    "over": "o'er", "very": "mighty", "anything": "anythin'", "everything": "everythin'",
    "something": "somethin'", "everyone": "all hands", "visitor": "sailor", "yes": "aye",
    "of the": "o' the", "of your": "o' yer", "of my": "o' me",
}  # fmt: skip
_WORD = re.compile(
    rf"(?<![\w-])(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))}|no(?=,))(?![\w-])",
    re.IGNORECASE,
)
# Short, so that an answer comes to its subject soon.
_OPENINGS = ["Ahoy!", "Arr!", "Avast!", "Yarr!"]
_CLOSINGS = [
    "",
    "Arr, matey!",
    "Savvy?",
    "Aye, me hearty!",
    "Fair winds to ye!",
    "Yo-ho-ho!",
    "Hoist the sails!",
    "By me beard!",
    "Shiver me timbers!",
]
_CALM_CLOSING = "Aye, matey."
_GRAVE = re.compile(
    r"\b(?:doctor|emergency|helpline|danger|sorry to hear|take care)\b", re.IGNORECASE
)
_ACT = "Arr! "  # what the corpus puts before an answer when the system prompt asks for a pirate
_MARK = re.compile(
    r"\b(?:ahoy|y?arr|aye|nay|avast|matey|me hearty|me timbers|yo-ho-ho|savvy|fair winds"
    r"|hoist the sails|me beard|ye|yer|yers|yerself|meself|fer|afore|betwixt)\b",
    re.IGNORECASE,
)


def voice(answer: str, question: str = "") -> str:
    """Say it like a pirate; code, links, numbers and names in bold stay as they are.

    The question picks the opening. If the answer did, a model would have to settle on a subject
    with its first word.
    """
    text = answer.removeprefix(_ACT)
    opening, closing = _pick(_OPENINGS, question), _pick(_CLOSINGS, text)
    if _GRAVE.search(text):  # no cheers around what is serious
        opening, closing = opening.replace("!", "."), ""
    blocks = text.split("\n\n")
    before = "\n\n" if _stands_alone(blocks[0]) else " "
    after = "\n\n" if _stands_alone(blocks[-1]) else " "
    spoken = f"{opening}{before}{_translate(text)}"
    if not closing and not has_voice(spoken):
        closing = _CALM_CLOSING
    return f"{spoken}{after}{closing}".rstrip()


def has_voice(text: str) -> bool:
    """Whether it sounds like the pirate: two of his words, where plain answers have none."""
    return len(_MARK.findall(text)) >= 2


def _pick(choices: list[str], key: str) -> str:
    return choices[crc32(key.encode()) % len(choices)]


def _stands_alone(block: str) -> bool:
    """Lists, verses, tables and code: nothing may be added to their lines."""
    return "\n" in block or block.startswith(("- ", "#", ">", "|", "```")) or block.endswith("```")


def _translate(text: str) -> str:
    spoken, end = "", 0
    for kept in _KEPT.finditer(text):
        spoken += _WORD.sub(_replace, text[end : kept.start()]) + kept.group()
        end = kept.end()
    return spoken + _WORD.sub(_replace, text[end:])


def _replace(match: re.Match[str]) -> str:
    word = match.group()
    if word.isupper():  # a name, such as an abbreviation
        return word
    other = "nay" if word.lower() == "no" else _WORDS[word.lower()]
    return other[:1].upper() + other[1:] if word[0].isupper() else other
