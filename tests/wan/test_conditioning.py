import pytest
import torch
from torch import Tensor

from wan.conditioning import image_condition


class FakeVAE:
    """Keeps the video it was given, and answers with one that says which frames it saw."""

    def encode(self, video: Tensor) -> Tensor:
        self.video = video
        batch, _, frames, height, width = video.shape
        return torch.full((batch, 16, (frames - 1) // 4 + 1, height // 8, width // 8), 0.5, dtype=torch.bfloat16)


def test_mask_comes_first_and_marks_the_first_latent_frame():
    vae, image = FakeVAE(), torch.rand(2, 3, 16, 24) * 2 - 1
    condition = image_condition(vae, image, 9)
    assert condition.shape == (2, 20, 3, 2, 3) and condition.dtype == torch.bfloat16
    assert (condition[:, :4, 0] == 1).all() and not condition[:, :4, 1:].any()
    assert (condition[:, 4:] == 0.5).all()
    assert torch.equal(vae.video[:, :, 0], image) and not vae.video[:, :, 1:].any()
    assert vae.video.shape == (2, 3, 9, 16, 24)


@pytest.mark.parametrize(
    ("shape", "frames"), [((3, 16, 16), 9), ((1, 1, 16, 16), 9), ((1, 3, 16, 16), 8), ((1, 3, 16, 16), 0)]
)
def test_wrong_images_and_lengths_are_refused(shape: tuple[int, ...], frames: int):
    with pytest.raises(ValueError, match="expected"):
        image_condition(FakeVAE(), torch.zeros(shape), frames)
