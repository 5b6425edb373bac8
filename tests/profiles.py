"""ICC profiles, made byte by byte as the specification (ICC.1:2001-04) says."""

import struct

import numpy as np

# Of the profile connection space, D50.
_WHITE = (0.9642, 1.0, 0.8249)
# Red, green, blue and white in CIE xy.
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), (0.3127, 0.3290))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))

Primaries = tuple[tuple[float, float], ...]


def to_xyz(primaries: Primaries) -> np.ndarray:
    """Linear RGB to XYZ of white D50, [3, 3], adapted as Bradford has it."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    scaled = xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    gain = (bradford @ np.array(_WHITE)) / (bradford @ xyz[:, 3])
    return np.linalg.inv(bradford) @ np.diag(gain) @ bradford @ scaled


def linear(values: np.ndarray) -> np.ndarray:
    """sRGB values, 0 to 1, as light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    """Light as sRGB values, 0 to 1."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def rgb(primaries: Primaries, gamma: float | None = None) -> bytes:
    """Of a display with those primaries and that gamma, or sRGB's curve."""
    matrix = to_xyz(primaries)
    tags = {
        name: _xyz(column)
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey(gamma: float | None = None) -> bytes:
    """Of grey with that gamma, or sRGB's curve."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk() -> bytes:
    """Of a press whose paper is L* 100 and whose inks take 40, 30, 20 and 60 of it, each."""
    inks = np.indices((2, 2, 2, 2)).reshape(4, 16).T
    lightness = (100 - inks @ np.array([40, 30, 20, 60])).clip(0)
    grid = np.stack([lightness * 255 / 100, np.full(16, 128), np.full(16, 128)], axis=1)
    identity = np.arange(256, dtype=np.uint8).tobytes()
    table = struct.pack(">4sIBBBB", b"mft1", 0, 4, 3, 2, 0)
    table += b"".join(struct.pack(">i", int(one * 65536)) for one in np.eye(3).ravel())
    table += identity * 4 + grid.round().astype(np.uint8).tobytes() + identity * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return struct.pack(">4sIIH", b"curv", 0, 1, round(gamma * 256))
    values = (linear(np.linspace(0, 1, 1024)) * 65535).round().astype(">u2")
    return struct.pack(">4sII", b"curv", 0, len(values)) + values.tobytes()


def _xyz(values: np.ndarray | tuple[float, ...]) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *(round(float(one) * 65536) for one in values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"made for a test\0"
    described = struct.pack(">4sII", b"desc", 0, len(name)) + name + bytes(78)
    tags = {b"desc": described, b"wtpt": _xyz(_WHITE), b"cprt": b"text\0\0\0\0none\0", **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sIIIQI3i4s44s",
        start + len(body), b"\0\0\0\0", 0x02400000, kind, space, connection,
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", b"\0\0\0\0", 0, 0, 0, 0, 0,
        *(round(one * 65536) for one in _WHITE), b"\0\0\0\0", b"",
    )  # fmt: skip
    return header + table + body
