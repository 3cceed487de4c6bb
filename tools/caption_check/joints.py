"""What stands between the noun phrases of a caption: punctuation, prepositions, verbs, and how strongly each parts.

English words and the punctuation of English and Chinese; there is no language library behind it.
"""

import re

START, SENTENCE, LIST, WEAK, CLOSE = 4, 3, 2, 1, 0
"""How strongly a joint parts: the ends of the caption; two sentences; two things of a list; a thing and what is said
of it ("a cup on a table"); a thing and what is said of nothing else ("a man wearing a hat")."""

_PLACE = (
    r"(?:on|to|at|in|from|by)\s+(?:the\s+)?(?:left|right|top|bottom|front|back|middle|center|centre|side|edge|end|"
    r"background|foreground|distance|corner)(?:\s+(?:side|hand side|corner|part|half))?\s+of"
)
_LEAD = (
    r"(?:the|this|an?)\s+(?:video|image|picture|photo|photograph|scene|clip|shot|view|close-up)\s+"
    r"(?:shows?|showing|depicts?|features?|captures?|of)|(?:there|here)\s+(?:is|are)|we\s+(?:can\s+)?see"
)
_PARTICIPLE = (
    r"(?:\w+(?:ed|ing)|set|put|made|seen|shown|drawn|built|held|hung|laid|kept|left|hidden|full|next|close|situated|"
    r"in|on|able to)"
)
_BE = rf"(?:is|are|was|were|be|being|been)(?:\s+(?:not\s+)?(?:\w+ly\s+)?{_PARTICIPLE}(?=\s))?"
_VERBS = (
    r"(?:wearing|holding|carrying|containing|featuring|showing|surrounded by|filled with|covered (?:with|in|by)|"
    r"made (?:of|from)|consisting of|decorated with|(?:placed|standing|sitting|lying|seated|resting|located|hanging)"
    r"(?=\s+(?:on|in|at|by|near|under|over|beside|behind|above|below|next|against|inside|around|between|from|atop))|"
    r"has|have|had|contains?|holds?|wears?|carries|carry|stands?|sits?|lies|rests?|hangs?)"
)
_PREPOSITIONS = (
    r"(?:with|without|on top of|on|in front of|in|inside|into|onto|at|near|next to|close to|beside|besides|behind|"
    r"under|underneath|beneath|below|above|over|against|along|alongside|across|around|among|between|beyond|through|"
    r"by|from|towards?|outside|atop|while|as|where|that|which|who|whose)"
)
_CONJUNCTIONS = r"(?:and|or|as well as|along with|together with|plus|&)"
_WORDS = rf"(?<![\w'’-])(?:{_PLACE}|{_LEAD}|{_BE}|{_VERBS}|as well as|{_PREPOSITIONS}|{_CONJUNCTIONS})(?![\w'’-])"
_MARKS = r"[!?;:()\[\]\"“”\n，。；：！？、（）…]|,(?!\d)|\.(?!\w)|\s[-–—]+\s"
# begins with no space: a long row of them would be tried from each of them on
JOINT = re.compile(rf"(?:{_MARKS}|{_WORDS})(?:\s*(?:{_MARKS}|{_WORDS}))*", re.IGNORECASE)
"""One joint: marks and words as they follow each other. The spaces around them belong to it too."""

_SENTENCE_MARK = re.compile(r"[.!?;\n。；！？]")
_NOT_LIST = re.compile(rf"(?<![\w'’-])(?:{_PLACE}|{_LEAD}|{_BE}|{_VERBS}|{_PREPOSITIONS})(?![\w'’-])", re.IGNORECASE)
_CLOSE = re.compile(
    r"[\s,，、]*(?:who|whose|which|that|wearing|holding|carrying|containing|filled|covered|made|decorated|consisting)\b",
    re.IGNORECASE,
)
_LISTING = re.compile(rf"(?<![\w'’-]){_CONJUNCTIONS}(?![\w'’-])", re.IGNORECASE)
_COLOURS = re.compile(
    r"(?:^|\s)(?:red|green|blue|yellow|orange|purple|pink|brown|black|white|gr[ae]y|golden|gold|silver|beige|dark|light)$",
    re.IGNORECASE,
)


def strength(joint: str) -> int:
    """How strongly a joint inside a caption parts what stands at its sides: SENTENCE, LIST, WEAK or CLOSE.

    " is placed on " and " with " are WEAK, ", wearing " and " who is holding " are CLOSE: what follows is said of what
    stood before. ", ", " and " and ", as well as " are LIST. A full stop makes it SENTENCE, whatever words follow.
    """
    if _SENTENCE_MARK.search(joint):
        return SENTENCE
    if _CLOSE.match(joint):
        return CLOSE
    return WEAK if _NOT_LIST.search(_LISTING.sub(" ", joint)) else LIST


def joins_colours(before: str, joint: str) -> bool:
    """True for the "and" of "a black and white dog", which parts nothing; `before` is the text in front of it."""
    return joint.strip().casefold() in {"and", "or"} and _COLOURS.search(before) is not None
