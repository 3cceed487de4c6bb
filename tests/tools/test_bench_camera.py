import pytest

from camera.language import parse
from camera.trajectory import compile
from tools.bench import bench_camera


def test_its_captions_are_different_legal_and_fill_the_video():
    captions = bench_camera.make_captions(60, 5.0)
    assert len(set(captions)) == 60
    assert captions == bench_camera.make_captions(60, 5.0)
    moves = [parse(caption) for caption in captions]
    assert {len(each) for each in moves} == {1, 2, 3, 4}
    for each in moves:
        assert each[0].start == 0 and each[-1].end == 5
        assert len(compile(each, 81, 16.0)) == 81


def test_it_reports_every_stage_and_the_rate(capsys):
    small = ["--captions", "2", "--repeats", "1", "--frames", "5", "--grid", "2", "3", "--processes", "1"]
    assert bench_camera.main(small) == 0
    shown = capsys.readouterr().err
    for words in ("torch", "parse", "compile", "rays, one lens", "zoom", "all, 1 processes", "captions a minute"):
        assert words in shown


@pytest.mark.parametrize("flag", ["--captions", "--repeats", "--processes"])
def test_nothing_to_measure_is_refused(flag):
    with pytest.raises(ValueError, match="expected 1 or more of each"):
        bench_camera.main([flag, "0"])
