"""The object phrases of a caption, and the caption without some of them.

A caption is cut at its joints (`tools.caption_check.joints`): "Object: A cup is placed on a white plate, and a spoon
lies beside it. ; Camera: ..." has the phrases "A cup", "a white plate" and "a spoon". "it" is a piece that names
nothing, and so are "the background" and "the left"; they are not scored. A phrase that comes twice counts once. Where
no phrase is found, the whole scene is the phrase. The camera text is never looked at and never touched.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from camera.language import split_caption
from tools.caption_check.joints import CLOSE, JOINT, LIST, START, WEAK, joins_colours, strength

_LABEL = re.compile(r"\s*(?:Object|Scene|Caption|Prompt)\s*[:：]\s*", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|this|that|these|those|his|her|its|their|some|another|one|two|several)\s+", re.I)
_LETTER = re.compile(r"[^\W\d_]")
_NAMES_NOTHING = re.compile(
    r"(?:it|its|he|she|him|her|they|them|we|us|i|you|this|that|these|those|one|ones|another|others?|each other|"
    r"both|all|some|each|there|here|then|"
    r"(?:left|right|top|bottom|front|back|middle|cent(?:er|re)|far|near)(?:\s+(?:side|hand side|corner|part|half))?|"
    r"(?:blurr?(?:y|ed)\s+)?background|foreground|distance|side|sides|scene|view|camera|frame|picture|image|video|"
    r"photo|shot|clip|placed|located|seated|positioned|slowly|quickly|slightly|partially|only|[\W\d_]*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Cut:
    """A scene in pieces: joints[0], pieces[0], joints[1], ... joints[-1]; put together they are the scene."""

    joints: tuple[str, ...]
    """One more than pieces; the first holds the label ("Object: "), the last the end ("." or nothing)."""
    pieces: tuple[str, ...]
    """Noun phrases, and what is left of others."""

    def strengths(self) -> list[int]:
        """Of each joint; both ends are START."""
        inner = [strength(joint) for joint in self.joints[1:-1]]
        return [START, *inner, START] if self.pieces else [START]


def key_of(phrase: str) -> str:
    """What makes two phrases the same: the words without a leading article, whatever their case and spacing."""
    return _ARTICLE.sub("", " ".join(phrase.split()).casefold())


def phrases_of(caption: str) -> list[str]:
    """The object phrases of a caption in the order of the text, each once; the whole scene where there is none.

    Returns:
        phrases as they stand in the caption; empty for a caption without a scene.
    """
    scene = split_caption(caption)[0]
    named: dict[str, str] = {}
    for piece in cut_scene(scene).pieces:
        if _names_something(piece):
            named.setdefault(key_of(piece), piece)
    whole = scene[_label_end(scene) :].strip()
    return list(named.values()) or ([whole] if re.search(r"\w", whole) else [])


def strip_phrases(caption: str, unwanted: Collection[str]) -> str | None:
    """The caption without some of its phrases; its camera text, byte for byte, and all other words stay.

    What is said of an unwanted thing goes with it: without "a woman", "A cake on a plate, and a woman in a red dress."
    is "A cake on a plate."; without "a plate" it is "A cake, and a woman in a red dress.".

    Args:
        caption: with its camera text.
        unwanted: phrases, compared by `key_of`.

    Returns:
        None where nothing of the scene would be left, or what is left would be read as camera text.
    """
    keys = {key_of(phrase) for phrase in unwanted}
    scene, camera = split_caption(caption)
    cut = cut_scene(scene)
    gone = _with_dependents([key_of(piece) in keys for piece in cut.pieces], cut.strengths())
    kept = [piece for piece, is_gone in zip(cut.pieces, gone, strict=True) if not is_gone]
    if not any(map(_names_something, kept)):
        return caption if not any(gone) and key_of(scene[_label_end(scene) :].strip()) not in keys else None
    start = len(caption) - len(caption.lstrip())
    assert caption.startswith(scene, start), "the scene stands in front of the camera text"
    kept_caption = caption[:start] + _put_together(cut, gone) + caption[start + len(scene) :]
    return kept_caption if split_caption(kept_caption)[1] == camera else None


def cut_scene(scene: str) -> Cut:
    """Cut a scene, without its camera text, at its joints."""
    joints, pieces = [], []
    position = begin = _label_end(scene)
    head = scene[:begin]
    for found in JOINT.finditer(scene, begin):
        before = scene[position : found.start()]
        if joins_colours(before.rstrip(), found[0]):
            continue
        if before.strip():
            piece = before.strip()
            begin = position + before.index(piece)
            joints.append(head + scene[position:begin])
            pieces.append(piece)
            head, position = "", begin + len(piece)
        head += scene[position : found.end()]
        position = found.end()
    rest = scene[position:]
    if rest.strip():
        joints.append(head + rest[: len(rest) - len(rest.lstrip())])
        pieces.append(rest.strip())
        head, rest = "", rest[len(rest.rstrip()) :]
    return Cut((*joints, head + rest), tuple(pieces))


def _label_end(scene: str) -> int:
    label = _LABEL.match(scene)
    return label.end() if label else 0


def _names_something(piece: str) -> bool:
    return _NAMES_NOTHING.fullmatch(key_of(piece)) is None


def _with_dependents(gone: list[bool], strengths: list[int]) -> list[bool]:
    """The first thing of a clause takes along all that hangs on it; another one only what is said of nothing else."""
    found: list[bool] = []
    head_is_gone = False
    for is_gone, before in zip(gone, strengths[:-1], strict=True):
        if before > WEAK:
            head_is_gone = is_gone
        found.append(is_gone or head_is_gone or (before == CLOSE and found[-1]))
    return found


def _put_together(cut: Cut, gone: list[bool]) -> str:
    """The scene of the pieces that stay; of the joints that meet where pieces went, the strongest, or the last such."""
    text, capital = "", cut.pieces[0][0].isupper()
    meeting: list[tuple[int, str]] = []
    for joint, power, piece, is_gone in zip(cut.joints[:-1], cut.strengths()[:-1], cut.pieces, gone, strict=True):
        meeting.append((power, joint))
        if is_gone:
            continue
        chosen = _strongest(meeting)
        begins = len(meeting) > 1 and chosen[0] > LIST and (chosen[0] == START or not _LETTER.search(chosen[1]))
        text += chosen[1] + (piece[0].upper() + piece[1:] if begins and capital else piece)
        meeting = []
    return text + _strongest([*meeting, (START, cut.joints[-1])])[1]


def _strongest(meeting: list[tuple[int, str]]) -> tuple[int, str]:
    if meeting[0][0] == START:  # what the caption begins with ("Object: ") stays
        return meeting[0]
    best = max(power for power, _ in meeting)
    return next(one for one in reversed(meeting) if one[0] == best)
