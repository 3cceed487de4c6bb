"""The scene part of a caption: what is there, and only what the camera sees of it."""

from collections.abc import Collection

from tools.procedural_world.rooms import Solid, World

FLOOR = 3
"""Number of the room's face that is its floor, as in `Solid.textures`."""


def describe(world: World, seen: Collection[int], floor_seen: bool = True) -> str:
    """One sentence about the subject, the room and, in brief, everything else in sight.

    Args:
        world: the room and its solids.
        seen: indices into `world.solids` of what the camera sees; the subject is always named.
        floor_seen: whether the floor is in sight.
    """
    visible = [solid for index, solid in enumerate(world.solids) if index in seen and index > 0]
    by_name = {solid.name: solid for solid in visible}
    walls = f"{world.room.textures[0].phrase()} walls"
    place = f"in a room with {walls}"
    if floor_seen:
        place += f" and {_with_article(f'{world.room.textures[FLOOR].phrase()} floor')}"
    subject = world.solids[0]
    sentence = _capital(_with_article(f"{subject.textures[0].phrase()} {subject.name}"))
    if "pedestal" in by_name:
        sentence += f" on {_with_article(_phrase(by_name['pedestal']))}"
    sentence += f" {place}"
    things = [_with_article(_phrase(solid)) for solid in visible if solid.name not in {"pedestal", "picture"}]
    if things:
        sentence += f", with {_listed(things)}"
    pictures = [_with_article(_phrase(solid)) for solid in visible if solid.name == "picture"]
    if pictures:
        sentence += f", {'and ' if things else 'with '}{_listed(pictures)} on the wall"
    return sentence + "."


def _phrase(solid: Solid) -> str:
    phrase = f"{solid.textures[0].phrase(brief=True)} {solid.name}"
    return f"{phrase} {solid.motion}" if solid.motion else phrase


def _with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"
