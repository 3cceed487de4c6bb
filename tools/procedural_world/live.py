"""An endless stream of fresh clips for training: planned by processes, rendered on the device that trains.

Clip number i of a seed is the same whoever makes it, so a run that stopped after n clips goes on at clip n.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from camera.language import format as format_moves
from tools.procedural_world.baking import bake
from tools.procedural_world.batch import pack
from tools.procedural_world.captions import describe
from tools.procedural_world.clips import plan_clip
from tools.procedural_world.raycaster import render
from tools.procedural_world.rooms import World

_BOXES, _SPHERES = 8, 4
"""Places for solids in every batch, enough for nearly all, so that shapes seldom change."""


@dataclass(frozen=True)
class LiveBatch:
    """B rendered clips."""

    frames: Tensor
    """[B, F, H, W, 3] uint8, RGB, on the device."""
    c2w: Tensor
    """[B, F, 4, 4] float32, relative to frame 0, OpenCV axes, on the device."""
    intrinsics: Tensor
    """[B, F, 4] float32, normalised, on the device."""
    scenes: tuple[str, ...]
    """What is there, one sentence each."""
    cameras: tuple[str, ...]
    """The camera text of each."""


@dataclass(frozen=True)
class _Planned:
    """What a process sends: arrays, since tensors would travel by shared memory, one file each."""

    world: World
    c2w: np.ndarray
    intrinsics: np.ndarray
    scene: str
    camera: str


def _plan(seed: int, first: int, count: int, frames: int, fps: float, aspect: float) -> list[_Planned]:
    torch.set_num_threads(1)
    planned = []
    for index in range(first, first + count):
        plan = plan_clip(seed, index, frames, fps, aspect)
        scene = describe(plan.world, range(len(plan.world.solids)))
        track = plan.track
        planned.append(
            _Planned(
                plan.world, track.c2w.numpy(), track.intrinsics.numpy(), f"Object: {scene}", format_moves(plan.moves)
            )
        )
    return planned


class LiveClips:
    """Batches of clips of one seed, in order, from clip `first` on.

    Args:
        seed: of the set; training and evaluation use different ones.
        batch: clips rendered at once.
        frames, fps, size: of the clips; size is (height, width).
        device: renders.
        workers: processes that plan ahead; 0 plans in this one.
        first: number of the first clip.
        stride: batches from one to the next of this stream; several processes that share a seed take turns.
        compiled: render by torch.compile.
    """

    def __init__(
        self,
        seed: int,
        batch: int,
        frames: int,
        fps: float,
        size: tuple[int, int],
        device: torch.device,
        workers: int = 0,
        first: int = 0,
        stride: int = 1,
        compiled: bool = False,
    ) -> None:
        self.seed, self.batch, self.frames, self.fps, self.size, self.device = seed, batch, frames, fps, size, device
        self.next_clip, self.step, self.compiled = first, batch * stride, compiled
        # forking would copy a process that already holds a CUDA context
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else None
        self._ahead = 2 * workers
        self._queue: deque[Future[list[_Planned]]] = deque()
        self._asked = first

    def __iter__(self) -> Iterator[LiveBatch]:
        while True:
            yield self.take()

    @torch.no_grad()
    def take(self) -> LiveBatch:
        """Render the next batch."""
        planned = self._planned()
        self.next_clip += self.step
        c2w, intrinsics = (
            torch.from_numpy(np.stack([getattr(one, name) for one in planned])).to(self.device, torch.float32)
            for name in ("c2w", "intrinsics")
        )
        worlds = pack([one.world for one in planned], self.device, _BOXES, _SPHERES)
        height, width = self.size
        frames = render(worlds, bake(worlds, width), c2w, intrinsics, height, width, compiled=self.compiled)
        return LiveBatch(
            frames, c2w, intrinsics, tuple(one.scene for one in planned), tuple(one.camera for one in planned)
        )

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _arguments(self, first: int) -> tuple[int, int, int, int, float, float]:
        return self.seed, first, self.batch, self.frames, self.fps, self.size[1] / self.size[0]

    def _planned(self) -> list[_Planned]:
        if self._pool is None:
            return _plan(*self._arguments(self.next_clip))
        while len(self._queue) < self._ahead:
            self._queue.append(self._pool.submit(_plan, *self._arguments(self._asked)))
            self._asked += self.step
        return self._queue.popleft().result()
