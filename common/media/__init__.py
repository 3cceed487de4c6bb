"""Images and videos, in and out. Arrays are uint8, RGB, [H, W, 3] or [F, H, W, 3]. See docs/video-input.md."""

from common.media.container import VIDEO_EXTENSIONS
from common.media.folders import images_in, probe_folder
from common.media.frames import pick_frames, read_video, video_frames
from common.media.images import (
    IMAGE_EXTENSIONS,
    contact_sheet,
    fit_to_size,
    probe_image,
    read_image,
    write_image,
)
from common.media.sampling import SampledVideo, sample_video, shrink
from common.media.timeline import VideoInfo, probe_video
from common.media.writing import write_video

__all__ = [
    "IMAGE_EXTENSIONS",
    "VIDEO_EXTENSIONS",
    "SampledVideo",
    "VideoInfo",
    "contact_sheet",
    "fit_to_size",
    "images_in",
    "pick_frames",
    "probe_folder",
    "probe_image",
    "probe_video",
    "read_image",
    "read_video",
    "sample_video",
    "shrink",
    "video_frames",
    "write_image",
    "write_video",
]
