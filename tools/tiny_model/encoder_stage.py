"""Stage `encoders` of the tiny model's training: text and image encoder by contrast, on frames of fresh clips."""

import argparse
import random
from pathlib import Path

import torch
from torch import Tensor

from common.logs import get_logger
from common.progress import progress
from common.weights import write_tensors
from tools.procedural_world.live import LiveClips
from tools.tiny_model.encoder_training import CaptionMatcher, tokens_of
from tools.tiny_model.results import half, write_losses
from tools.tiny_model.stage import HELD_OUT_SEED, TASK, schedule, story, stream
from wan.clip import CLIPVision
from wan.keys_encoders import clip_table, t5_table, to_official
from wan.t5 import T5Encoder
from wan.tokenizer import Tokenizer

log = get_logger("tiny")

_HELD_OUT_BATCHES = 8


def train_encoders(args: argparse.Namespace, device: torch.device) -> None:
    """Train, then write t5.safetensors, clip.safetensors and the loss curve."""
    folder = Path(args.output_dir)
    torch.manual_seed(args.seed)
    assert TASK.clip is not None
    tokenizer = Tokenizer(folder / "tokenizer.json", TASK.t5.text_len)
    matcher = CaptionMatcher(T5Encoder(TASK.t5, tokenizer), CLIPVision(TASK.clip)).to(device)
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=args.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    pictures = _Pictures(stream(args, device, args.seed), args.ring)
    while len(pictures.texts) < args.batch_size:
        pictures.add()
    plan, losses = schedule(args), []
    with progress(args.steps or 0, "training the tiny encoders", unit="step") as bar:
        while plan.over < 1 or not losses:
            rng = random.Random(f"encoders/{args.seed}/{plan.taken}")
            if plan.taken % args.render_every == 0:
                pictures.add()
            images, texts = pictures.draw(args.batch_size, rng)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss, _ = matcher(images, *tokens_of(matcher.t5, texts, device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(matcher.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate()
            optimizer.step()
            losses.append(loss.detach().clone())
            plan.taken += 1
            bar.update()
    pictures.clips.close()
    _finish(args, matcher, torch.stack(losses).tolist())


class _Pictures:
    """A ring of frames with the sentence about what is in their room.

    Args:
        clips: where they come from; one frame of each clip is taken.
        capacity: frames kept.
    """

    def __init__(self, clips: LiveClips, capacity: int) -> None:
        self.clips, self.capacity = clips, capacity
        self.frames: list[Tensor] = []
        self.texts: list[str] = []

    def add(self) -> None:
        """The next batch of clips."""
        batch = self.clips.take()
        rng = random.Random(f"pictures/{self.clips.seed}/{self.clips.next_clip}")
        picked = [frames[rng.randrange(frames.shape[0])] for frames in batch.frames]
        self.frames = (self.frames + picked)[-self.capacity :]
        self.texts = (self.texts + list(batch.scenes))[-self.capacity :]

    def draw(self, count: int, rng: random.Random) -> tuple[Tensor, list[str]]:
        """`count` different pictures [B, 3, H, W] in [-1, 1], and their texts."""
        rows = rng.sample(range(len(self.texts)), count)
        frames = torch.stack([self.frames[row] for row in rows])
        return frames.movedim(-1, 1).float() / 127.5 - 1, [self.texts[row] for row in rows]


@torch.no_grad()
def _finish(args: argparse.Namespace, matcher: CaptionMatcher, losses: list[float]) -> None:
    device = matcher.log_scale.device
    held_out = _Pictures(stream(args, device, HELD_OUT_SEED), _HELD_OUT_BATCHES * args.render_batch)
    for _ in range(_HELD_OUT_BATCHES):
        held_out.add()
    images, texts = held_out.draw(len(held_out.texts), random.Random(0))
    matcher.eval()
    found = float(matcher(images, *tokens_of(matcher.t5, texts, device))[1])
    folder, steps = Path(args.output_dir), len(losses)
    metadata = {**story(args, steps), "held_out_matched": f"{found:.3f} of {len(texts)}"}
    assert TASK.clip is not None
    t5 = to_official(matcher.t5.state_dict(), t5_table(TASK.t5))
    clip = to_official(matcher.clip.state_dict(), clip_table(TASK.clip))
    write_tensors(folder / "t5.safetensors", half(t5), metadata)
    write_tensors(folder / "clip.safetensors", half(clip), metadata)
    write_losses(folder / "encoders_loss.csv", losses)
    log.info("encoders: %d steps, %.1f %% of %d held-out pictures find their text", steps, 100 * found, len(texts))
