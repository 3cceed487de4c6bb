"""How well a picture shows what a phrase names: cosines of CLIP, made comparable between pictures.

CLIP's cosine of a picture and a text that fits it is the measure of CLIPScore (Hessel et al. 2021, "CLIPScore: A
Reference-free Evaluation Metric for Image Captioning", arXiv 2104.08718), which also puts "A photo depicts" in front of
the text. All its cosines lie in a narrow band, far below 1, and the band is in another place for every picture: the
paper multiplies them by 2.5 to spread them. For a threshold that holds for all pictures, the place matters more than
the width, so here it is measured: texts that name nothing (`NEUTRAL`) are compared with the same picture, and their
mean cosine is the zero of that picture's scores.

    score(phrase) = 100 * max over frames of (cos(frame, phrase) - mean over neutral texts of cos(frame, neutral))

A thing that comes into view late is in some frame, therefore the maximum. A score is in hundredths of a cosine; above 0
the phrase fits some frame better than a text that says nothing. Where present and absent things part is a matter of the
weights and of the data, and is measured on labels (`tools.caption_check.threshold`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wan.clip_text import CLIPImageText
from wan.pixels import to_tensor

PREFIX = "A photo depicts"
NEUTRAL = (
    "something",
    "a thing",
    "an object",
    "some objects",
    "a scene",
    "a place",
    "a view",
    "nothing in particular",
)
"""Texts that fit every picture equally well, after `PREFIX`."""
SCORING_VERSION = "1"
"""Goes up when the same frames and phrases would get other scores."""

_KNOWN_TEXTS = 1 << 15

Cosines = Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray]
"""Of N pictures [H, W, 3], uint8, and M texts: [N, M], each -1 to 1."""


@dataclass(frozen=True)
class PhraseScore:
    """The score of one phrase, over all frames that were looked at."""

    phrase: str
    score: float
    """Hundredths of a cosine above the neutral texts, in the best frame."""
    frame: int
    """Which of the pictures is the best."""


def score_phrases(cosines: Cosines, pictures: Sequence[np.ndarray], phrases: Sequence[str]) -> list[PhraseScore]:
    """The score of each phrase, as in the formula above.

    Args:
        cosines: of pictures and texts, e.g. `clip_cosines`.
        pictures: at least one, [H, W, 3], uint8, of one size.
        phrases: at least one.

    Raises:
        ValueError: a cosine is not a number.
    """
    table = cosines(pictures, [prompt(phrase) for phrase in (*NEUTRAL, *phrases)])
    assert table.shape == (len(pictures), len(NEUTRAL) + len(phrases)), table.shape
    if not np.isfinite(table).all():
        raise ValueError("CLIP's cosines are not all numbers; are its weights damaged?")
    margins = 100 * (table[:, len(NEUTRAL) :] - table[:, : len(NEUTRAL)].mean(axis=1, keepdims=True))
    best = margins.argmax(axis=0)
    return [
        PhraseScore(phrase, round(float(margins[frame, place]), 4), int(frame))
        for place, (phrase, frame) in enumerate(zip(phrases, best, strict=True))
    ]


def prompt(phrase: str) -> str:
    """The text that stands for a phrase: "A woman" becomes "A photo depicts a woman"."""
    words = phrase.split(maxsplit=1)
    lower = bool(words) and words[0] in {"A", "An", "The", "Some", "Two", "Three", "Several"}
    return f"{PREFIX} {phrase[0].lower() + phrase[1:] if lower else phrase}"


def clip_cosines(clip: CLIPImageText) -> Cosines:
    """The cosines of both towers, in float32; the pictures in one batch, and each text encoded once.

    The pictures are brought to CLIP's square as the video model does (`CLIPVision.prepare_images`).
    """
    known: dict[str, Tensor] = {}
    device = clip.image_projection.device

    def encoded(texts: Sequence[str]) -> Tensor:
        new = sorted(set(texts) - known.keys())
        if len(known) + len(new) > _KNOWN_TEXTS:
            known.clear()
            new = sorted(set(texts))
        if new:
            known.update(zip(new, F.normalize(clip.encode_text(new).float(), dim=-1), strict=True))
        return torch.stack([known[text] for text in texts])

    def cosines(pictures: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        images = to_tensor(np.stack(pictures), device).movedim(-3, 0)
        image = F.normalize(clip.encode_image(images).float(), dim=-1)
        return (image @ encoded(texts).T).cpu().numpy()

    return cosines
