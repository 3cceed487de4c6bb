"""The labelled sample and the threshold chosen on it."""

import csv
import json
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.caption_check.labels import phrases_by_medium, read_labels
from tools.caption_check.threshold import (
    COLUMNS,
    area_under_roc,
    best_point,
    operating_points,
    roc_picture,
    write_table,
)

SAMPLES = st.lists(st.tuples(st.integers(-20, 20).map(lambda n: n / 4), st.booleans()), min_size=2, max_size=30).filter(
    lambda sample: len({present for _, present in sample}) == 2
)


def split(sample):
    return [score for score, _ in sample], [present for _, present in sample]


def test_a_sample_that_parts_cleanly():
    points = operating_points([-3.0, -1.0, 2.0, 4.0], [False, False, True, True])
    for criterion in ("f1", "youden"):
        best = best_point(points, criterion)
        assert (best.threshold, best.precision, best.recall, best.false_positive_rate) == (0.5, 1, 1, 0)
    assert area_under_roc(points) == 1
    backwards = operating_points([-3.0, -1.0, 2.0, 4.0], [True, True, False, False])
    assert area_under_roc(backwards) == 0


def test_f1_and_youden_may_differ():
    """Few absent ones among many present: J pays for recall what F1 does not."""
    scores = [-2.0, -1.0, -0.9, -0.8, -0.7, 0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    present = [False, True, True, True, True, False, *[True] * 12]
    points = operating_points(scores, present)
    assert best_point(points, "youden").threshold == 0.5
    assert best_point(points, "f1").threshold == -1.5


@given(SAMPLES)
def test_the_area_is_the_chance_that_a_present_thing_scores_higher(sample):
    there = [score for score, present in sample if present]
    absent = [score for score, present in sample if not present]
    wins = sum((a > b) + 0.5 * (a == b) for a in there for b in absent)
    assert area_under_roc(operating_points(*split(sample))) == pytest.approx(wins / (len(there) * len(absent)))


@given(SAMPLES, st.sampled_from(["f1", "youden"]))
def test_no_other_threshold_is_better(sample, criterion):
    points = operating_points(*split(sample))
    best = best_point(points, criterion)
    absent = sum(not present for _, present in sample)
    for threshold in [n / 8 for n in range(-50, 50)]:
        found = sum(score < threshold and not present for score, present in sample)
        wronged = sum(score < threshold and present for score, present in sample)
        value = (
            2 * found / (found + wronged + absent)
            if criterion == "f1"
            else found / absent - wronged / (len(sample) - absent)
        )
        assert value <= getattr(best, criterion) + 1e-12
    assert all(point.found + point.missed == absent for point in points)
    assert all(sum((p.found, p.wronged, p.missed, p.spared)) == len(sample) for p in points)


def test_one_kind_of_label_chooses_nothing():
    for present in (True, False):
        with pytest.raises(ValueError, match=f"all 2 labelled phrases are {'present' if present else 'absent'}"):
            operating_points([1.0, 2.0], [present] * 2)


def test_table_and_picture(tmp_path):
    points = operating_points([-3.0, -1.0, 2.0, 4.0], [False, True, False, True])
    write_table(tmp_path / "t.csv", points)
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS) and len(rows) == len(points) == 5
    assert [float(row["recall"]) for row in rows] == [0, 0.5, 0.5, 1, 1]
    assert rows[1]["true_positives"] == "1" and float(rows[1]["precision"]) == 1
    picture = ElementTree.fromstring(roc_picture(points, best_point(points, "youden")))
    line = next(element for element in picture if element.tag.endswith("polyline"))
    corners = line.attrib["points"].split()
    assert corners[0] == "40.0,270.0" and corners[-1] == "300.0,10.0" and len(corners) == 5


def test_labels_of_both_kinds_of_file(tmp_path):
    media = [tmp_path / "v" / "a.mp4", tmp_path / "v" / "b.mp4"]
    (tmp_path / "l.csv").write_text('path,phrase,present\nv/a.mp4,"a cup, red",Yes\nb.mp4,a man,0\n', encoding="utf-8")
    lines = [{"path": "v/a.mp4", "phrase": "a cup, red", "present": True}]
    lines += [{"path": str(media[1]), "phrase": "a man", "present": "no"}]
    (tmp_path / "l.jsonl").write_text("\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    for name in ("l.csv", "l.jsonl"):
        labels = read_labels(tmp_path / name, media)
        assert [(label.path, label.phrase, label.present) for label in labels] == [
            (media[0], "a cup, red", True),
            (media[1], "a man", False),
        ]
        assert phrases_by_medium(labels) == {media[0]: ["a cup, red"], media[1]: ["a man"]}


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("l.csv", "path,phrase\na.mp4,x\n", r"l\.csv line 2: has no present"),
        ("l.csv", "path,phrase,present\na.mp4,x,maybe\n", r"line 2: present = 'maybe'; expected yes or no"),
        ("l.csv", "path,phrase,present\nc.mp4,x,yes\n", r"line 2: path 'c\.mp4' is no medium of the data set"),
        ("l.csv", "path,phrase,present\n", "holds no labels"),
        ("l.jsonl", '{"path": "a.mp4"}\n', r"line 1: has no phrase, present"),
        ("l.jsonl", "path,phrase,present\n", "line 1: not JSON"),
        ("l.jsonl", "[1]\n", "line 1: expected an object with {...}, found list"),
    ],
)
def test_a_wrong_label_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_labels(tmp_path / name, [tmp_path / "a.mp4"])


def test_a_name_that_two_media_have_is_not_guessed(tmp_path):
    (tmp_path / "l.csv").write_text("path,phrase,present\na.mp4,x,yes\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the name of several"):
        read_labels(tmp_path / "l.csv", [tmp_path / "u" / "a.mp4", tmp_path / "v" / "a.mp4"])
