"""Plain data out of a pickle, without unpickling: nothing that the file names is ever imported or called.

The opcodes are walked with pickletools (Python's documentation of the pickle format) on a stack of our own. Built are
None, booleans, numbers, strings, bytes, lists, tuples, dictionaries with keys of text, and numpy arrays and scalars of
plain numbers; what numpy writes for those (`_reconstruct`, `scalar`, `_frombuffer`, `dtype`, `ndarray`) is recognised
by its name and done here. Any other name, opcode or structure is refused with its byte position. Amounts and depth are
limited, so that a small file cannot take the memory.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camera.formats.npz import ByteStream

MAX_DEPTH = 32
_MAX_LINE = 2**16
_COST = 256
"""Bytes that an object is taken to need beside its content."""
_NUMPY = {
    f"{package}.{name}": name
    for name, packages in {
        "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
        "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
        "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
        "ndarray": ("numpy",),
        "dtype": ("numpy",),
        "encode": ("_codecs",),
    }.items()
    for package in packages
}
"""Names that may stand in a file, and what they stand for; `_codecs.encode` is how protocol 2 writes bytes."""
_CODES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1", "O", "O8"}
_VALUES = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_CHUNK = 2**24


@dataclass(eq=False)
class _Node:
    """A value on the stack that was built from others."""

    value: Any
    depth: int = 1
    kind: str = "value"
    """value; array and dtype until their BUILD; name for one of _NUMPY."""
    used: bool = False
    """It lies in another node already, so that it may not change: depths would be wrong, and cycles possible."""


class _Refused(Exception):
    """Why the opcode at hand is refused; its position is added where it is known."""


@dataclass
class _Machine:
    """The stack, the marks and the memo of a walk."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        """The top of the stack, within the innermost mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Refused("takes a value from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """What was pushed since the innermost mark, which is removed."""
        if not self.marks:
            raise _Refused("needs a mark, and there is none")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type) -> _Node:
        """The node on top, which holds a `kind` and may still change."""
        node = self.stack[-1] if len(self.stack) > (self.marks[-1] if self.marks else 0) else None
        if not (isinstance(node, _Node) and node.kind == "value" and isinstance(node.value, kind)) or node.used:
            raise _Refused(f"needs a new {kind.__name__} to add to")
        return node


class _Limited:
    """A stream of which only so much is read, in reads of a possible size; counts what is built from it, too."""

    def __init__(self, stream: ByteStream, limit: int) -> None:
        self._stream, self._limit, self._position, self._spent = stream, limit, 0, 0

    def spend(self, cost: int) -> None:
        """Count memory; ValueError when it is too much."""
        self._spent += cost
        if self._spent > self._limit:
            raise ValueError(f"needs more than the {self._limit:,} bytes of memory that are allowed")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        parts, missing = [], size
        while missing > 0:
            # a claim is not believed before its bytes are there
            self.spend(min(missing, _CHUNK))
            part = self._stream.read(min(missing, _CHUNK))
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self._position += size - missing
        return b"".join(parts)

    def readline(self) -> bytes:
        """A line with its end."""
        line = self._stream.readline(_MAX_LINE)
        if len(line) == _MAX_LINE:
            raise ValueError(f"a line of more than {_MAX_LINE} bytes")
        self.spend(len(line))
        self._position += len(line)
        return line

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position


def read_plain(stream: ByteStream, where: str, limit: int) -> Any:
    """The plain data of the pickle that a stream holds.

    Args:
        stream: at the pickle's first byte.
        where: the place, for messages.
        limit: bytes of memory that the content may take, estimated from above.

    Returns:
        lists, tuples, dicts, str, bytes, int, float, bool, None, and ndarrays of numbers; an array of objects, which
        has to have one axis, becomes a list.

    Raises:
        ValueError: anything else, damage, or a limit; names the position in the pickle.
    """
    limited, machine, position = _Limited(stream, limit), _Machine(), 0
    try:
        for opcode, argument, at in pickletools.genops(limited):  # pyright: ignore[reportArgumentType]
            position = at or 0
            limited.spend(_COST)
            if opcode.name == "STOP":
                result = machine.pop()
                if machine.stack or machine.marks:
                    raise _Refused("ends with values left over")
                return _content(result)[0]
            _step(machine, opcode.name, argument)
    except _Refused as refusal:
        raise ValueError(f"{where}, byte {position} of the pickle: {refusal}") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}, byte {limited.tell()} of the pickle: {error}") from None
    raise AssertionError("genops ends with STOP or raises")


def _step(machine: _Machine, name: str, argument: Any) -> None:
    """One opcode."""
    if name in ("PROTO", "FRAME"):
        return
    if name == "MARK":
        if len(machine.marks) >= MAX_DEPTH * 2:
            raise _Refused(f"nested deeper than {MAX_DEPTH}")
        machine.marks.append(len(machine.stack))
    elif name in _VALUES:
        machine.stack.append(_CONSTANTS.get(name, bytes(argument) if name == "BYTEARRAY8" else argument))
    elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
        _memoise(machine, len(machine.memo) if argument is None else argument)
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        if argument not in machine.memo:
            raise _Refused(f"takes number {argument} from the memo, which is not there")
        machine.stack.append(machine.memo[argument])
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        machine.stack.append(_named(machine, argument))
    elif name in _BUILDERS:
        _BUILDERS[name](machine)
    else:
        raise _Refused(f"opcode {name}, which plain data does not need; it is refused and nothing was run")


def _memoise(machine: _Machine, number: int) -> None:
    value = machine.pop()
    machine.stack.append(value)
    machine.memo[number] = value


def _named(machine: _Machine, argument: str | None) -> _Node:
    """A name for one of numpy's functions; nothing is imported for it."""
    if argument is None:
        attribute, module = machine.pop(), machine.pop()
        if not (isinstance(module, str) and isinstance(attribute, str)):
            raise _Refused("a name that is no text")
        argument = f"{module} {attribute}"
    name = argument.replace(" ", ".", 1)
    if name not in _NUMPY:
        raise _Refused(f"names {name[:80]!r}, which is no plain data; it is refused and nothing was run")
    return _Node(_NUMPY[name], kind="name")


def _content(value: Any) -> tuple[Any, int]:
    """A value as it is put into another, and its depth."""
    if not isinstance(value, _Node):
        return value, 0
    if value.kind != "value":
        raise _Refused(f"an unfinished {value.kind} where a value is expected")
    value.used = True
    return value.value, value.depth


def _grow(node: _Node, values: list[Any]) -> list[Any]:
    """The contents of values that are put into `node`, whose depth follows."""
    if any(value is node for value in values):
        raise _Refused("a container that holds itself")
    pairs = [_content(value) for value in values]
    node.depth = max([node.depth, *(depth + 1 for _, depth in pairs)])
    if node.depth > MAX_DEPTH:
        raise _Refused(f"nested deeper than {MAX_DEPTH}")
    return [content for content, _ in pairs]


def _new_tuple(machine: _Machine, values: list[Any]) -> None:
    """Push a tuple; one that carries a dtype or a name is kept as it is for the REDUCE or BUILD that follows."""
    node = _Node(None)
    if any(isinstance(value, _Node) and value.kind != "value" for value in values):
        node.kind, node.value = "arguments", tuple(values)
        node.depth = 1 + max(value.depth for value in values if isinstance(value, _Node))
        if node.depth > MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH}")
    else:
        node.value = tuple(_grow(node, values))
    machine.stack.append(node)


def _add_to_list(machine: _Machine, values: list[Any]) -> None:
    node = machine.top(list)
    node.value.extend(_grow(node, values))


def _add_to_dict(machine: _Machine, values: list[Any]) -> None:
    node = machine.top(dict)
    if len(values) % 2:
        raise _Refused("a key without a value")
    if not all(isinstance(key, str) for key in values[::2]):
        raise _Refused("a key that is no text")
    node.value.update(zip(values[::2], _grow(node, values[1::2]), strict=True))


def _list_of(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    machine.stack.append(_Node([]))
    _add_to_list(machine, values)


def _dict_of(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    machine.stack.append(_Node({}))
    _add_to_dict(machine, values)


def _pop_many(machine: _Machine, count: int) -> list[Any]:
    return [machine.pop() for _ in range(count)][::-1]


def _arguments(value: Any, lengths: tuple[int, ...]) -> tuple[Any, ...]:
    if not (isinstance(value, _Node) and isinstance(value.value, tuple) and len(value.value) in lengths):
        raise _Refused("numpy's own data with other arguments than numpy writes")
    return value.value


def _reduce(machine: _Machine) -> None:
    """What a call of one of numpy's functions would give."""
    arguments, function = machine.pop(), machine.pop()
    if not (isinstance(function, _Node) and function.kind == "name"):
        raise _Refused("calls something that is no name; it is refused and nothing was run")
    if function.value not in _CALLS:
        raise _Refused(f"calls {function.value}, which plain data does not need")
    lengths, call = _CALLS[function.value]
    result = call(*_arguments(arguments, lengths))
    machine.stack.append(result)


def _call_reconstruct(kind: Any, shape: Any, code: Any) -> _Node:
    if not (isinstance(kind, _Node) and kind.kind == "name" and kind.value == "ndarray"):
        raise _Refused("an array of another class than numpy.ndarray")
    return _Node(None, kind="array")


def _call_dtype(code: Any, *rest: Any) -> _Node:
    if not (isinstance(code, str) and code in _CODES):
        raise _Refused(f"a dtype {str(code)[:20]!r}; expected real numbers")
    return _Node(code, kind="dtype")


def _call_encode(text: Any, encoding: Any) -> bytes:
    if not (isinstance(text, str) and encoding == "latin1"):
        raise _Refused("bytes in another form than Python writes")
    return text.encode("latin-1")


def _call_scalar(dtype: Any, content: Any) -> Any:
    return _numbers(content, dtype, (1,), "C")[0].item()


def _call_frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Node:
    sides = shape.value if isinstance(shape, _Node) and shape.kind == "value" else shape
    if order not in ("C", "F"):
        raise _Refused("an array in another order than C or F")
    return _Node(_numbers(content, dtype, sides, order))


_CALLS: dict[str, tuple[tuple[int, ...], Callable[..., Any]]] = {
    "_reconstruct": ((3,), _call_reconstruct),
    "dtype": ((1, 2, 3), _call_dtype),
    "encode": ((2,), _call_encode),
    "scalar": ((2,), _call_scalar),
    "_frombuffer": ((4,), _call_frombuffer),
}


def _numbers(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of plain numbers from its bytes."""
    if not (isinstance(dtype, _Node) and dtype.kind == "dtype") or "O" in dtype.value:
        raise _Refused("an array without a dtype of numbers")
    if not isinstance(content, bytes):
        raise _Refused("an array whose numbers are no bytes")
    kind, sides = np.dtype(dtype.value), _sides(shape)
    if math.prod(sides) * kind.itemsize != len(content):
        raise _Refused(f"an array of shape {list(sides)} and {kind} with {len(content)} bytes")
    return np.frombuffer(content, kind).reshape(sides, order=order)


def _sides(shape: Any) -> tuple[int, ...]:
    if not (isinstance(shape, tuple) and len(shape) <= 8 and all(type(side) is int and side >= 0 for side in shape)):
        raise _Refused("an array whose shape is not a few whole numbers")
    return shape


def _build(machine: _Machine) -> None:
    """The state of an array (version, shape, dtype, is_fortran, numbers) or of a dtype (version, byte order, ...)."""
    state, node = machine.pop(), machine.pop()
    machine.stack.append(node)
    if not isinstance(node, _Node) or node.used or node.kind not in ("array", "dtype"):
        raise _Refused("sets the state of an object; it is refused and nothing was run")
    if node.kind == "dtype":
        _, order, *rest = _arguments(state, (8, 9))
        if order not in ("<", ">", "|", "=") or any(value not in (None, -1) for value in rest[:5]):
            raise _Refused("a dtype with fields")
        node.value = order + node.value.lstrip("<>|=")
        return
    _, shape, dtype, is_fortran, content = _arguments(state, (5,))
    sides = shape.value if isinstance(shape, _Node) and shape.kind == "value" else shape
    if isinstance(dtype, _Node) and dtype.kind == "dtype" and "O" in dtype.value:
        objects = content.value if isinstance(content, _Node) and content.kind == "value" else None
        if not isinstance(objects, list) or _sides(sides) != (len(objects),):
            raise _Refused("an array of objects that is no list of them")
        node.value, node.depth = objects, content.depth
        content.used = True
    else:
        node.value = _numbers(content, dtype, sides, "F" if is_fortran is True else "C")
    node.kind = "value"


_BUILDERS: dict[str, Callable[[_Machine], None]] = {
    "EMPTY_LIST": lambda machine: machine.stack.append(_Node([])),
    "EMPTY_DICT": lambda machine: machine.stack.append(_Node({})),
    "EMPTY_TUPLE": lambda machine: machine.stack.append(_Node(())),
    "LIST": _list_of,
    "DICT": _dict_of,
    "TUPLE": lambda machine: _new_tuple(machine, machine.pop_to_mark()),
    "TUPLE1": lambda machine: _new_tuple(machine, _pop_many(machine, 1)),
    "TUPLE2": lambda machine: _new_tuple(machine, _pop_many(machine, 2)),
    "TUPLE3": lambda machine: _new_tuple(machine, _pop_many(machine, 3)),
    "APPEND": lambda machine: _add_to_list(machine, _pop_many(machine, 1)),
    "APPENDS": lambda machine: _add_to_list(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine: _add_to_dict(machine, _pop_many(machine, 2)),
    "SETITEMS": lambda machine: _add_to_dict(machine, machine.pop_to_mark()),
    "REDUCE": _reduce,
    "BUILD": _build,
}
