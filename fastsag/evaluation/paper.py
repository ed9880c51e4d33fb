"""What the paper reports, to stand beside our own figures (Chen et al., IJCAI 2024, Tables 1-3)."""

from __future__ import annotations

EMBEDDERS = ("vggish", "mert", "mert-4", "mert-7", "mert-11", "clap")  # columns of Tables 1 and 2
RTF = "rtf"

_ZERO_SHOT = {
    "SingSong s+c": (0.8632, 3.1589, 1.7528, 1.5793, 1.6917, 0.0878, 10.4936),
    "SingSong s+c+f": (1.5578, 3.7985, 2.3694, 2.0688, 2.1319, 0.1363, 47.7660),
    "FastSAG w/o norm": (3.6784, 1.7695, 1.7142, 1.5849, 1.2951, 0.1115, 0.3239),
    "FastSAG semant+mel": (1.5947, 1.9795, 1.5769, 1.8818, 1.5152, 0.1054, 0.3240),
    "FastSAG mel": (1.4424, 2.0861, 1.6532, 1.8578, 1.5370, 0.1151, 0.3214),
    "FastSAG interpolate": (0.7595, 1.5059, 1.0806, 1.3566, 1.0629, 0.0648, 0.3231),
    "FastSAG": (0.8917, 1.3043, 0.9675, 1.1364, 0.8227, 0.0701, 0.3247),
}
_IN_DOMAIN = {
    "SingSong s+c": (0.5093, 1.2798, 0.7691, 0.8144, 0.7832, 0.0406),
    "FastSAG interpolate": (1.3266, 0.6450, 0.5101, 0.6267, 0.4676, 0.0361),
    "FastSAG": (1.2180, 0.6639, 0.4295, 0.4966, 0.4164, 0.0330),
}

# By system and column.
TABLE1 = {name: dict(zip((*EMBEDDERS, RTF), row, strict=True)) for name, row in _ZERO_SHOT.items()}
TABLE2 = {name: dict(zip(EMBEDDERS, row, strict=True)) for name, row in _IN_DOMAIN.items()}
TABLE3 = {  # mean opinion scores
    "Human": 4.15,
    "SingSong s+c": 2.36,
    "RandSong": 1.48,
    "interpolate": 2.78,
    "FastSAG": 3.13,
}


def plain(name: str) -> str:
    """A system's name whatever its capitals and signs."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def row(table: dict[str, dict[str, float]], name: str) -> dict[str, float]:
    """The paper's row of a system; empty if it has none."""
    return {plain(known): values for known, values in table.items()}.get(plain(name), {})
