from pathlib import Path

import numpy as np
import pytest
import torch

from common.media import read_image, write_video
from common.weights import read_metadata, read_tensors
from tools import train_tiny_vae
from tools.tiny_model.vae_clips import Clips
from tools.tiny_model.vae_training import (
    LEAST_VISIBLE,
    Run,
    fold_normalisation,
    latent_statistics,
    psnr,
    reconstruct,
    visibility,
)
from wan.config import WAN_CONFIGS
from wan.loading import load_vae
from wan.vae import WanVAE
from wan.vae_initialise import initialise_vae

TINY = WAN_CONFIGS["i2v-tiny"].vae


def moving_picture(seed: int, frames: int = 9) -> np.ndarray:
    """[F, 32, 48, 3]: coarse blocks that slide."""
    wide = np.random.default_rng(seed).integers(0, 255, (4, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([wide[:, i : i + 48] for i in range(frames)])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(3):
        write_video(folder / f"clip_{i}.mp4", moving_picture(i), 16)
    write_video(folder / "too_short.mp4", moving_picture(9, 3), 16)
    (folder / "notes.txt").write_text("not a video")
    return folder


def train(videos: Path, output: Path, *more: str) -> int:
    small = ["--crop", "16", "--frames", "5", "--video_size", "32", "48"]
    return train_tiny_vae.main(["--videos", str(videos), "--output", str(output), "--device", "cpu", *small, *more])


def fresh_run(learning_rate: float = 1e-3) -> Run:
    vae = WanVAE(TINY)
    initialise_vae(vae, 0)
    return Run(vae, torch.optim.AdamW(vae.parameters(), lr=learning_rate))


def test_it_writes_weights_that_load_and_a_picture(videos: Path, tmp_path: Path):
    output = tmp_path / "vae.safetensors"
    assert train(videos, output, "--steps", "2") == 0
    metadata = read_metadata(output)
    assert (metadata["trained"], metadata["trained_steps"]) == ("yes", "2") and float(metadata["psnr_held_out"]) > 5
    vae = load_vae(output, TINY, device="cpu", dtype=torch.float32)
    clips = Clips([videos], (32, 48), 5)
    whole = [torch.from_numpy(video).permute(3, 0, 1, 2) / 127.5 - 1 for video in clips.videos]
    mean, std = latent_statistics(vae, whole)
    assert mean.abs().max() < 0.05 and (std - 1).abs().max() < 0.05
    assert read_image(tmp_path / "vae_reconstruction.png").shape == (64, 240, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vae.safetensors", "vae_reconstruction.png"]
    before = output.stat().st_mtime_ns
    assert train(videos, output, "--steps", "2") == 0
    assert output.stat().st_mtime_ns == before  # trained as long before: kept


def test_an_interrupted_run_goes_on_to_the_same_weights(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert train(videos, whole, "--steps", "3") == 0
    original = Run.train_step

    def interrupt(self: Run, *arguments) -> torch.Tensor:
        if self.step == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(Run, "train_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(videos, parts, "--steps", "3")
    assert not parts.exists() and (tmp_path / "parts_training_state.pt").exists()
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"steps 3.*--overwrite"):
        train(videos, parts, "--steps", "4")
    assert train(videos, parts, "--steps", "3") == 0
    one, other = read_tensors(whole), read_tensors(parts)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not (tmp_path / "parts_training_state.pt").exists()


def test_training_improves_the_picture():
    run = fresh_run()
    video = torch.from_numpy(moving_picture(0)[:5, :32, :32]).permute(3, 0, 1, 2)[None] / 127.5 - 1
    generator = torch.Generator().manual_seed(0)
    before, _ = psnr(run.vae, video[0])
    losses = [float(run.train_step(video, 1e-3, generator, False)) for _ in range(30)]
    run.use_average()
    after, _ = psnr(run.vae, video[0])
    assert losses[-1] < 0.8 * losses[0] and after > before + 1


def test_folding_the_normalisation_is_exact():
    vae = fresh_run().vae.double()
    video = torch.from_numpy(moving_picture(0)).permute(3, 0, 1, 2).double() / 127.5 - 1
    mean, std = (torch.linspace(*ends, 16, dtype=torch.float64) for ends in ((-2, 3), (0.5, 4)))
    with torch.no_grad():
        latent, log_variance = vae.encode_moments(video[None])
        output = vae.decode(latent)
        fold_normalisation(vae, mean, std)
        folded, folded_variance = vae.encode_moments(video[None])
        per_channel = (1, -1, 1, 1, 1)
        assert torch.allclose(folded, (latent - mean.view(per_channel)) / std.view(per_channel), atol=1e-12)
        assert torch.allclose(folded_variance, log_variance - 2 * std.log().view(per_channel), atol=1e-12)
        assert torch.allclose(vae.decode(folded), output, atol=1e-12)


def test_channels_are_as_visible_as_they_change_the_picture():
    vae = fresh_run().vae
    videos = [torch.from_numpy(moving_picture(seed)[:5]).permute(3, 0, 1, 2) / 127.5 - 1 for seed in (0, 1)]
    with torch.no_grad():
        vae.conv2.weight[:, 5] = 0.0
    visible = visibility(vae, videos)
    assert visible[5] == pytest.approx(LEAST_VISIBLE) and visible[:3].mean() > 2 * visible[6:].mean()
    with torch.no_grad():
        vae.conv2.weight[:, 5] = vae.conv2.weight[:, 0]
    assert visibility(vae, videos)[5] > LEAST_VISIBLE
    visible[5] = 0.0
    assert visible.square().mean() == pytest.approx(1.0, abs=0.01)


def test_the_divergence_is_that_of_a_normal():
    vae = fresh_run().vae
    video = torch.from_numpy(moving_picture(0)[:5]).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        mean, log_variance = vae.encode_moments(video)
        latent = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        expected = torch.distributions.kl_divergence(latent, torch.distributions.Normal(0.0, 1.0)).mean()
        _, divergence = reconstruct(vae, video, torch.Generator().manual_seed(0))
    assert torch.allclose(divergence, expected, rtol=1e-4)


def test_clips_are_cut_from_the_training_videos_only(videos: Path):
    clips = Clips([videos], (32, 48), 5)
    assert len(clips.videos) == 2 and np.abs(clips.held_out.astype(int) - moving_picture(2)).mean() < 20
    batch = clips.batch(np.random.default_rng(0), 64, 5, 16)
    assert batch.shape == (64, 3, 5, 16, 16) and batch.abs().max() <= 1
    grey = (batch[:, :, 1:] == 0).flatten(1).all(1)
    assert 0 < grey.sum() < 20  # first frame and mid-grey, as in the image condition
    assert torch.equal(batch, clips.batch(np.random.default_rng(0), 64, 5, 16))


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--crop", "12"], "--crop 12"),
        (["--crop", "40"], "--crop 40"),
        (["--frames", "8"], "--frames 8"),
        (["--steps", "0"], "--steps"),
    ],
)
def test_wrong_options_are_refused(videos: Path, tmp_path: Path, more: list[str], word: str):
    with pytest.raises(ValueError, match=word):
        train(videos, tmp_path / "vae.safetensors", *more)
    assert list(tmp_path.iterdir()) == []


def test_wrong_folders_are_refused(videos: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(tmp_path / "nowhere", tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match="expected a folder"):
        train(videos / "clip_0.mp4", tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match="make_demo_dataset"):
        train(tmp_path, tmp_path / "vae.safetensors")
