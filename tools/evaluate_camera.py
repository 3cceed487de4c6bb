"""Does the generated camera obey? Measures it on videos of held-out scenes of the procedural world.

Every row makes videos of the same clips and the same noise: the rendered truth, the truth through the VAE, the model
with its adapter, with the camera at scale 0, with the camera tags only in the text, with another clip's trajectory, and
with the mirrored one. The camera of each video is measured (features followed from frame 0, whose depth is known, then
PnP) and compared with its command. docs/evaluation.md says what every number means.

A row that is finished is kept in --output_dir and taken from there when nothing that decides it has changed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from common import arguments, cli
from common.files import require_writable
from common.logs import get_logger, setup_logging
from common.precision import pick_device
from sampling.solvers import SOLVER_NAMES, make_solver
from tools import camera_tracking
from tools.camera_evaluation.held_out import HELD_OUT_SEED, plan_held_out
from tools.camera_evaluation.measuring import MeasuredRow, load_row, save_row, start_measuring, tracking_pool
from tools.camera_evaluation.pictures import choose_examples
from tools.camera_evaluation.report import Evaluation, say_summary, versions, write_report
from tools.camera_evaluation.rows import SHIPPED_ROWS, Row, commands_of, likeness, rows_of
from tools.camera_evaluation.scores import score_row
from tools.camera_evaluation.summary import summarise
from tools.camera_evaluation.targets import targets_of
from tools.camera_evaluation.truth import Truth, render_truth
from tools.camera_evaluation.videos import Sampling, load_encoders, make_videos
from tools.procedural_world.clips import WORLD_VERSION
from wan.config import WAN_CONFIGS

log = get_logger("evaluation")

TASK = WAN_CONFIGS["i2v-tiny"]
EVALUATION_VERSION = "1"
"""Changes whenever the same settings give other videos or other measurements."""
