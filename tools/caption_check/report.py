"""The report: one HTML page that loads nothing, with the lowest scores first and pictures to look at."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.files import atomic_path
from tools.caption_check.scoring import PhraseScore
from tools.caption_check.store import Scores
from tools.caption_check.threshold import COLUMNS, Point, roc_picture, table_rows
from tools.caption_check.work import Work

_SHOWN_FRAMES = 4
_SHOWN_POINTS = 25
_PICTURE_SIDE = 240
_JPEG_QUALITY = 75
_STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em auto;max-width:1080px;padding:0 1em}"
    "section{border-top:1px solid #bbb;padding:1em 0}figure{display:inline-block;margin:0 8px 0 0}"
    "figcaption,.where{color:#666;font-size:13px}table{border-collapse:collapse;margin:.6em 0}"
    "td,th{padding:2px 10px;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child"
    "{text-align:left}.low,.chosen{background:#fde3dc}p{overflow-wrap:anywhere}"
)


@dataclass(frozen=True)
class Judged:
    """One medium with its scores."""

    work: Work
    scores: Scores
    suspects: tuple[str, ...]
    """Phrases of its caption whose score is below the threshold."""

    @property
    def phrases(self) -> list[PhraseScore]:
        """Those of its caption, the lowest score first."""
        return sorted(self.scores.phrases[: len(self.work.own)], key=lambda phrase: phrase.score)


def judge(work: Sequence[Work], scores: Mapping[str, Scores], threshold: float | None) -> list[Judged]:
    """Every caption with phrases that was scored, the lowest score first.

    Args:
        work: of the data set; what has no scores is passed over.
        scores: by fingerprint.
        threshold: phrases of a caption below it are suspects; None makes none.
    """
    found = []
    for one in work:
        known = scores.get(one.fingerprint)
        if known is not None and one.own:
            own = known.phrases[: len(one.own)]
            low = tuple(phrase.phrase for phrase in own if threshold is not None and phrase.score < threshold)
            found.append(Judged(one, known, low))
    return sorted(found, key=lambda judged: (judged.phrases[0].score, str(judged.work.item.path)))


def shown_frames(judged: Judged) -> list[int]:
    """Up to four places in `scores.frames`: where the two lowest phrases are best seen, then evenly spaced ones."""
    lowest = [phrase.frame for phrase in judged.phrases]
    spread = np.linspace(0, len(judged.scores.frames) - 1, _SHOWN_FRAMES).round().astype(int).tolist()
    return sorted(list(dict.fromkeys([*lowest[:2], *spread]))[:_SHOWN_FRAMES])


def write_report(
    path: Path,
    judged: Sequence[Judged],
    facts: Mapping[str, str],
    chosen: tuple[Sequence[Point], Point] | None,
    pictures: Callable[[Judged, Sequence[int]], Sequence[np.ndarray]],
) -> None:
    """Write the page.

    Args:
        path: of the .html file; whole or not there.
        judged: what is shown, in this order.
        facts: lines of the summary, name and value.
        chosen: all operating points and the chosen one, where there were labels.
        pictures: gives the frames [H, W, 3] of a medium at some places of `Scores.frames`.

    Raises:
        FileNotFoundError, ValueError: of `pictures`.
    """
    rows = "".join(_row((html.escape(name), html.escape(value)), "") for name, value in facts.items())
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>Captions</title><style>{_STYLE}</style></head><body><h1>Captions, the most doubtful first</h1>",
        f"<table>{rows}</table>",
        *([] if chosen is None else [_threshold_part(*chosen)]),
        *(_item_part(one, pictures(one, shown_frames(one))) for one in judged),
        "</body></html>\n",
    ]
    with atomic_path(path) as temporary:
        # a path may hold bytes that are no UTF-8
        temporary.write_text("\n".join(parts), encoding="utf-8", errors="replace")


def _threshold_part(points: Sequence[Point], best: Point) -> str:
    """The ROC curve, and the operating points around the chosen one."""
    place = list(points).index(best)
    first = max(0, place - _SHOWN_POINTS // 2)
    near = list(points)[first : first + _SHOWN_POINTS]
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in COLUMNS)
    rows = "".join(
        _row(row, "chosen" if point == best else "") for point, row in zip(near, table_rows(near), strict=True)
    )
    return (
        f"<section><h2>Threshold</h2>{roc_picture(points, best)}<p>Positives are phrases whose thing is absent.</p>"
        f"<table><tr>{head}</tr>{rows}</table></section>"
    )


def _item_part(judged: Judged, pictures: Sequence[np.ndarray]) -> str:
    item, scores = judged.work.item, judged.scores
    figures = "".join(
        f'<figure><img alt="frame {scores.frames[place]}" src="{_data_url(picture)}">'
        f"<figcaption>frame {scores.frames[place]}</figcaption></figure>"
        for place, picture in zip(shown_frames(judged), pictures, strict=True)
    )
    rows = "".join(
        _row(
            (html.escape(phrase.phrase), f"{phrase.score:.2f}", str(scores.frames[phrase.frame])),
            "low" if phrase.phrase in judged.suspects else "",
        )
        for phrase in judged.phrases
    )
    where = "; ".join(one.where for one in judged.work.items)
    return (
        f'<section><h2>{html.escape(item.path.name)}</h2><p class="where">{html.escape(f"{item.path} ({where})")}</p>'
        f"{figures}<p>{html.escape(item.caption)}</p>"
        f"<table><tr><th>phrase</th><th>score</th><th>best frame</th></tr>{rows}</table></section>"
    )


def _row(cells: Sequence[str], name: str) -> str:
    """A row of a table; the cells are HTML."""
    kind = f' class="{name}"' if name else ""
    return f"<tr{kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _data_url(picture: np.ndarray) -> str:
    """The picture [H, W, 3] as a JPEG of at most 240 pixels a side, in the text of a link."""
    scale = min(1.0, _PICTURE_SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
