"""The tiny text and image encoders, trained together so that a caption and the picture it describes agree.

Contrastive, as CLIP was trained (Radford et al. 2021, arXiv 2103.00020, section 2.3): in a batch of B pairs, each
picture must find its caption among the B captions and the other way round. The heads that compare them are thrown away;
the generator reads the tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan.clip import CLIPVision
from wan.t5 import T5Encoder

SHARED_DIM = 64
START_SCALE = 14.3
"""Logits per unit of cosine at the start, 1 / 0.07 as in the paper."""
HIGHEST_SCALE = 100.0


class CaptionMatcher(nn.Module):
    """Both encoders and the heads that make their outputs comparable.

    Args:
        t5, clip: the encoders, which train.
    """

    def __init__(self, t5: T5Encoder, clip: CLIPVision) -> None:
        super().__init__()
        self.t5, self.clip = t5, clip
        self.text_head = nn.Linear(t5.config.dim, SHARED_DIM, bias=False)
        self.image_head = nn.Linear(clip.config.dim, SHARED_DIM, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(START_SCALE).log())

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and the share of pictures that find their own caption.

        Args:
            images: [B, 3, H, W] in [-1, 1].
            ids, mask: [B, L] tokens of the captions and which of them are there.
        """
        tokens = self.t5(ids, mask)
        weight = mask[..., None].to(tokens.dtype)
        text = F.normalize(self.text_head((tokens * weight).sum(1) / weight.sum(1)), dim=-1)
        image = F.normalize(self.image_head(self.clip(self.clip.prepare_images(images)).mean(1)), dim=-1)
        logits = self.log_scale.exp().clamp(max=HIGHEST_SCALE) * image.float() @ text.float().T
        own = torch.arange(len(images), device=images.device)
        loss = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))
        return loss, (logits.detach().argmax(1) == own).float().mean()


def tokens_of(t5: T5Encoder, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token numbers and mask of texts, padded to the longest, [B, L], as `T5Encoder.encode` reads them."""
    assert t5.tokenizer is not None
    numbers = [torch.tensor(item) for item in t5.tokenizer(texts)]
    ids = nn.utils.rnn.pad_sequence(numbers, batch_first=True)
    mask = (torch.arange(ids.shape[1]) < torch.tensor([len(item) for item in numbers])[:, None]).long()
    return ids.to(device), mask.to(device)
