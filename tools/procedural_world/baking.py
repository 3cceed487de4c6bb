"""Surfaces baked once per world: solid texture, lamp, shadows and dark corners, as pictures of every face.

Nothing in a world moves and all light is diffuse, so a surface point has one colour for every camera. Each solid
has six square tiles, the faces of the cube around it; a sphere's point belongs to the tile its direction leaves by.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tools.procedural_world.batch import WorldBatch
from tools.procedural_world.lighting import light, near_floor, room_corners
from tools.procedural_world.materials import Texture
from tools.procedural_world.patterns import albedo, clouds

_FACES = 6
_GAMMA = 2.2
_EXPOSURE = 1.35


@dataclass(frozen=True)
class Atlas:
    """All tiles of a batch in one picture per world, and where each solid's tiles are."""

    picture: Tensor
    """[B, 3, height, width] display colours, 0 to 1."""
    tiles: Tensor
    """[B, 3, S]: left and upper edge of the solid's first tile, and tile side - 1, in texels."""

    def sample(self, solid: Tensor, point: Tensor) -> Tensor:
        """Colours [B, 3, N] of surface points [B, 3, N], each in the frame of its solid [B, N]."""
        face, across, down = to_face(point)
        tile = self.tiles.gather(2, solid[:, None].expand(-1, 3, -1))
        side = tile[:, 2]
        x = tile[:, 0] + face * (side + 1) + across * side
        y = tile[:, 1] + down * side
        height, width = self.picture.shape[2:]
        grid = torch.stack((x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1), dim=-1)[:, None]
        return functional.grid_sample(self.picture, grid, align_corners=True, padding_mode="border")[:, :, 0]


def to_face(point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cube face (0 to 5: -x, +x, -y, +y, -z, +z) and place on it (0 to 1) of points [B, 3, N]."""
    top, axis = point.abs().max(dim=1)
    positive = point.gather(1, axis[:, None])[:, 0] > 0
    scale = 0.5 / top
    across = torch.where(axis == 0, point[:, 1], point[:, 0]) * scale + 0.5
    down = torch.where(axis == 2, point[:, 1], point[:, 2]) * scale + 0.5
    return axis * 2 + positive, across, down


def cube_faces(side: int, device: torch.device) -> Tensor:
    """Points [6, side * side, 3] on [-1, 1]^3, one for each texel that `Atlas.sample` looks up."""
    line = torch.linspace(-1, 1, side, device=device)
    down, across = (grid.flatten() for grid in torch.meshgrid(line, line, indexing="ij"))
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            columns = [across, down]
            columns.insert(axis, torch.full_like(across, sign))
            faces.append(torch.stack(columns, dim=-1))
    return torch.stack(faces)


def bake(worlds: WorldBatch, width: int) -> Atlas:
    """Paint and light all surfaces, finely enough for pictures `width` pixels wide."""
    batch, solids = worlds.half.shape[:2]
    large, small = 2 * round(0.8 * width), 2 * round(0.22 * width)
    per_row = large // small
    rows = -(-(solids - 1) // per_row)
    picture = torch.zeros(batch, 3, large + rows * small, _FACES * large, device=worlds.half.device)
    picture[:, :, :large] = _tiles(worlds, slice(0, 1), large)[:, 0]
    places = [(0, 0, large - 1)]
    for index, strip in enumerate(_tiles(worlds, slice(1, solids), small).unbind(1)):
        top, left = large + index // per_row * small, index % per_row * _FACES * small
        picture[:, :, top : top + small, left : left + _FACES * small] = strip
        places.append((left, top, small - 1))
    tiles = torch.tensor(places, dtype=torch.float32, device=picture.device)
    return Atlas(picture, tiles.T.expand(batch, 3, solids).contiguous())


def _tiles(worlds: WorldBatch, part: slice, side: int) -> Tensor:
    """Finished tiles [B, S', 3, side, 6 * side]: the texture at full size, light and clouds at half of it."""
    textures = [texture for row in worlds.surfaces for solid in row[part] for texture in _per_face(solid.textures)]
    coarse = _Skin(worlds, part, side // 2)
    place, normal = coarse.in_room()
    shade = _enlarge(light(worlds, place, normal, coarse.hidden_sky(place)), side)
    cloud = _enlarge(clouds(textures, coarse.own.flatten(0, 2)).view(*coarse.own.shape[:-1], 1), side)
    fine = _Skin(worlds, part, side)
    color = albedo(textures, fine.own.flatten(0, 2), fine.texel.flatten(0, 2), cloud.flatten(0, 2))
    color = color.view_as(shade).mul_(shade)
    # a soft shoulder instead of clipping keeps the colour of what is close to the lamp
    color = (1 - torch.exp_(color.mul_(-_EXPOSURE))).pow_(1 / _GAMMA)
    batch, count = color.shape[:2]
    color = color.view(batch, count, _FACES, side, side, 3).permute(0, 1, 5, 3, 2, 4)
    return color.reshape(batch, count, 3, side, _FACES * side)


def _per_face(textures: tuple[Texture, ...]) -> tuple[Texture, ...]:
    return textures if len(textures) == _FACES else textures * _FACES


def _enlarge(values: Tensor, side: int) -> Tensor:
    """[B, S', 6, n * n, C] to [B, S', 6, side * side, C], smoothly."""
    *lead, count, channels = values.shape
    small = round(count**0.5)
    planes = values.reshape(-1, small, small, channels).permute(0, 3, 1, 2)
    large = functional.interpolate(planes, (side, side), mode="bilinear", align_corners=True)
    return large.permute(0, 2, 3, 1).reshape(*lead, side * side, channels)


class _Skin:
    """The surfaces of some solids at n = side * side points of each of their six faces."""

    def __init__(self, worlds: WorldBatch, part: slice, side: int) -> None:
        device = worlds.half.device
        self.worlds, self.part = worlds, part
        self.cube = cube_faces(side, device)
        """[6, n, 3] on [-1, 1]^3."""
        self.axes = torch.eye(3, device=device).repeat_interleave(2, dim=0)[:, None]
        """[6, 1, 3] axis of each face."""
        boxes = min(part.stop, worlds.boxes) - part.start
        ball = self.cube / self.cube.square().sum(dim=-1, keepdim=True).sqrt()
        self.inner = torch.stack([self.cube] * boxes + [ball] * (part.stop - part.start - boxes))
        """[S', 6, n, 3] on the surface, in the frame of the solid."""
        self.outward = torch.stack([self.cube * self.axes] * boxes + [ball] * (part.stop - part.start - boxes))
        """[S', 6, n, 3] normals, in the frame of the solid."""
        self.half = worlds.half[:, part, None, None]
        self.own = self.inner * self.half
        """[B, S', 6, n, 3] in scene units, in the frame of the solid."""
        in_plane = torch.stack([1 - self.axes] * boxes + [torch.ones_like(self.axes)] * (len(self.inner) - boxes))
        self.texel = (2 / (side - 1)) * self.half[..., 0, :] * in_plane[..., 0, :]
        """[B, S', 6, 3] distance of neighbouring points along each axis, 0 along the normal of a box's face."""

    def in_room(self) -> tuple[Tensor, Tensor]:
        """Places, and normals out of a solid but into the room: [B, S', 6, n, 3] in the frame of the room."""
        turn = self.worlds.to_local[:, self.part] * self.worlds.half[:, self.part, :, None]
        moved = self.own - self.worlds.shift[:, self.part, None, None] * self.half
        place = torch.einsum("bsji,bsfnj->bsfni", turn, moved)
        normal = torch.einsum("bsji,bsfnj->bsfni", turn, self.outward.expand_as(moved))
        return place, -normal if self.part.start == 0 else normal

    def hidden_sky(self, place: Tensor) -> Tensor:
        """[B, S', 6, n, 1] share of the sky that corners and neighbours hide."""
        if self.part.start == 0:
            return room_corners(self.worlds, place, self.cube)
        return near_floor(self.worlds, place)
