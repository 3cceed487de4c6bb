import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera.formats.plain_pickle import MAX_DEPTH, read_plain
from tests.camera.formats.array_tracks import fuzz, mutated, mutations

LIMIT = 2**26
PLAIN = {
    "text": "a camera é \U0001f3a5",
    "none": None,
    "bools": [True, False],
    "numbers": (1, -1, 300, 70000, 2**40, -(2**70), 0.5, float("inf")),
    "bytes": b"\x00\xff",
    "empty": [[], {}, ()],
    "nested": {"a": [{"b": (1, [2])}]},
}


def read(content, limit=LIMIT):
    return read_plain(io.BytesIO(content), "here", limit)


def clip(frames=3):
    w2c = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    return {
        "video_path": "a/b.mp4",
        "camera_extrinsics": w2c,
        "fortran": np.asfortranarray(np.arange(12, dtype=">i2").reshape(3, 4)),
        "align_factor": np.float64(2.5),
        "count": np.int32(7),
        "flags": np.array([True, False]),
    }


def objects(*items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_is_what_python_reads(protocol):
    assert read(pickle.dumps(PLAIN, protocol=protocol)) == PLAIN


@pytest.mark.parametrize("modules", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_numpy_are_what_numpy_reads(protocol, modules):
    content = pickle.dumps(objects(clip(), clip(5)), protocol=protocol)
    here = b"numpy._core" if b"numpy._core" in content else b"numpy.core"
    if protocol < 4:
        content = content.replace(here, modules.encode())
    read_back = read(content)
    assert isinstance(read_back, list) and len(read_back) == 2
    for found, expected in zip(read_back, [clip(), clip(5)], strict=True):
        assert list(found) == list(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)
            assert np.asarray(found[key]).dtype.kind == np.asarray(value).dtype.kind
        assert found["fortran"].dtype == np.dtype(">i2") and type(found["align_factor"]) is float


class Reduces:
    """What a hostile file is made of: an object whose pickle calls something."""

    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


class Plain:
    """An object with attributes only."""

    def __init__(self):
        self.a = 1


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def hostile(flag):
    """Pickles that run `touch flag`, or would build something else than plain data, by name of the way."""
    command = f"touch {flag}"
    system = b"cposix\nsystem\n"
    argument = text(command)
    yield from {
        "REDUCE 2": pickle.dumps(Reduces(os.system, (command,)), protocol=2),
        "REDUCE 4": pickle.dumps(Reduces(os.system, (command,)), protocol=4),
        "REDUCE in an array": pickle.dumps(objects(clip(), Reduces(os.system, (command,))), protocol=4),
        "GLOBAL": b"\x80\x02" + system + argument + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + text("posix") + text("system") + b"\x93" + argument + b"\x85R.",
        "STACK_GLOBAL of no text": b"\x80\x04K\x01K\x02\x93.",
        "INST": b"(" + argument + b"iposix\nsystem\n.",
        "OBJ": b"(" + system + argument + b"o.",
        "NEWOBJ": b"\x80\x02" + system + argument + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + system + argument + b"\x85}\x92.",
        "PERSID": b"Pposix.system\n.",
        "BINPERSID": argument + b"Q.",
        "EXT1": b"\x80\x02\x82\x01.",
        "BUILD": b"\x80\x02}}b.",
        "BUILD of an object": pickle.dumps(Plain(), protocol=4),
        "NEXT_BUFFER": b"\x80\x05\x97.",
        "eval": b"\x80\x02cbuiltins\neval\n" + text(f"open({str(flag)!r}, 'w')") + b"\x85R.",
        "numpy's own load": b"\x80\x02cnumpy\nload\n" + argument + b"\x85R.",
        "numpy's runstring": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + argument + b"}\x86R.",
        "a dotted name": b"\x80\x04" + text("numpy") + text("ndarray.tofile") + b"\x93" + argument + b"\x85R.",
        "a call of what is no name": b"\x80\x02" + argument + b")R.",
        "ndarray called": b"\x80\x02cnumpy\nndarray\n" + argument + b"\x85R.",
        "a name as a value": b"\x80\x02cnumpy\nndarray\n.",
        "a name in a list": b"\x80\x02]cnumpy\nndarray\na.",
        "an unfinished array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R.",
        "a set": pickle.dumps({1, 2}, protocol=4),
        "a string of Python 2": b"S'abc'\n.",
        "keys that are no text": pickle.dumps({1: 2}, protocol=4),
        "an array of dates": pickle.dumps(np.array(["2020-01-01"], "M8[D]"), protocol=4),
        "an array of records": pickle.dumps(np.zeros(2, [("a", "f4")]), protocol=4),
        "an array of text": pickle.dumps(np.array(["abc"]), protocol=4),
        "a matrix class": pickle.dumps(np.zeros((2, 2)).view(np.matrix), protocol=4),
        "an array of objects of two axes": pickle.dumps(objects(1, 2, 3, 4).reshape(2, 2), protocol=4),
    }.items()


def test_hostile_files_are_refused_with_their_position_and_nothing_runs(tmp_path):
    flag = tmp_path / "ran"
    for way, content in hostile(flag):
        with pytest.raises(ValueError, match=r"^here, byte \d+ of the pickle: ") as caught:
            read(content)
        assert not flag.exists(), way
        assert len(str(caught.value)) < 400, way
    # the proof that the proof works: Python's own loader runs it
    pickle.loads(dict(hostile(flag))["REDUCE 4"])
    assert flag.exists()


def test_the_position_and_the_name_are_told():
    content = b"\x80\x02]q\x00" + b"cposix\nsystem\n" + b"a."
    with pytest.raises(ValueError, match=r"byte 5 of the pickle: names 'posix.system', which is no plain data"):
        read(content)


def nest(open_, close, depth):
    return b"\x80\x02" + open_ * depth + close * depth + b"."


@pytest.mark.parametrize(
    "content",
    [
        nest(b"]", b"a", 2000)[:-2] + b".",
        nest(b"(", b"t", 2000),
        nest(b"(", b"l", 2000),
        b"\x80\x02)" + b"\x85" * 2000 + b".",
        b"\x80\x02]" + b"q\x00]h\x00a" * 500 + b".",
        b"\x80\x02}" + b"q\x00}X\x01\x00\x00\x00ah\x00s" * 500 + b".",
        b"\x80\x02cnumpy\nndarray\n" + b"\x85" * 2000 + b".",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02]q\x00h\x00\x85a.",
        b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    ],
    ids=["lists", "tuples", "marked lists", "tuple1", "memo lists", "memo dicts", "names", "itself", "through", "dict"],
)
def test_deep_nesting_and_cycles_are_refused(content):
    with pytest.raises(ValueError, match=r"byte \d+ of the pickle: (nested deeper than 32|.*holds itself|needs a new)"):
        read(content)


def test_the_depth_that_is_allowed():
    value = "x"
    for _ in range(MAX_DEPTH):
        value = [value]
    assert read(pickle.dumps(value, protocol=4)) == value
    with pytest.raises(ValueError, match="nested deeper"):
        read(pickle.dumps([value], protocol=4))


def test_a_memo_bomb_stays_small_and_amounts_are_limited():
    # 30 lists, each of twice the one before: a billion when written out
    layers = b"".join(b"]q" + bytes([i + 1]) + b"(h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(30))
    value = read(b"\x80\x02(]q\x00" + layers + b"t.")
    assert len(value) == 31 and value[30][0] is value[30][1] is value[29]
    with pytest.raises(ValueError, match="needs more than the 1,000,000 bytes of memory"):
        read(b"\x80\x02(" + b"}" * 10**4 + b"t.", 10**6)
    claim = b"\x80\x04\x8e" + struct.pack("<Q", 10**12)
    with pytest.raises(ValueError, match="byte 11 of the pickle: expected 1000000000000 bytes"):
        read(claim)
    with pytest.raises(ValueError, match="line of more than"):
        read(b"I" + b"1" * 10**5)


def test_arrays_whose_claims_do_not_fit():
    content = pickle.dumps(np.arange(6, dtype=np.float32).reshape(2, 3), protocol=4)
    with pytest.raises(ValueError, match=r"an array of shape \[2, 4\] and float32 with 24 bytes"):
        read(content.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"))
    with pytest.raises(ValueError, match="a dtype 'x4'"):
        read(content.replace(b"f4", b"x4"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_cut_at_any_byte_is_refused(protocol):
    content = pickle.dumps(objects({"a": np.arange(2, dtype=np.float32), "b": "c"}), protocol=protocol)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^here, byte \d+ of the pickle: "):
            read(content[:length])


@fuzz
@given(st.sampled_from((2, 4, 5)), st.lists(mutations(), min_size=1, max_size=3))
def test_damage_raises_nothing_but_our_errors(protocol, changes):
    content = mutated(pickle.dumps(objects(clip(1), {"nested": [(1, {"a": b"b"})]}), protocol=protocol), changes)
    try:
        read(content)
    except ValueError as error:
        assert str(error).startswith("here, byte ")


@fuzz
@given(
    st.lists(
        st.sampled_from([bytes([code]) for code in b"(]})aetusldbR\x85\x86\x87.q\x00h\x00K\x01N0\x94"]), max_size=40
    )
)
def test_any_order_of_opcodes_raises_nothing_but_our_errors(opcodes):
    try:
        read(b"".join(opcodes))
    except ValueError as error:
        assert str(error).startswith("here, byte ")
