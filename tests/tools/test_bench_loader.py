import pytest

from common.weights import read_tensors
from tools.bench import bench_loader


def test_it_writes_a_data_set_once_and_reports_every_part(tmp_path, capsys):
    small = ["--clips", "3", "--scale", "16", "--workers", "0", "1", "--folder", str(tmp_path)]
    assert bench_loader.main(small) == 0
    shown = capsys.readouterr().err
    for words in (
        "3 clips found",
        "latent cache",
        "NaN",
        "text cache",
        "camera cache",
        "rays",
        "0 workers",
        "1 workers",
    ):
        assert words in shown
    (latents,) = tmp_path.glob("cache/v2_00000-081_*_wan.safetensors")
    assert {tuple(tensor.shape) for tensor in read_tensors(latents).values()} == {
        (16, 21, 2, 6),
        (20, 21, 2, 6),
        (257, 80),
    }
    before = latents.stat().st_mtime_ns
    bench_loader.write_caches(tmp_path, 3, 16)
    assert latents.stat().st_mtime_ns == before


@pytest.mark.parametrize("wrong", [["--clips", "0"], ["--scale", "17"], ["--workers", "-1"]])
def test_nothing_to_measure_is_refused(wrong):
    with pytest.raises(ValueError, match="expected numbers of these ranges"):
        bench_loader.main(wrong)
