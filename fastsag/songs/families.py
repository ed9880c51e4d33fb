"""Style families: what a kind of song is like, and which of MMA's grooves play it.

A family is finer than a style of the lead sheet; each belongs to the nearest of `STYLES`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A kind of song.

    name, style: the family and the nearest of `lead_sheet.STYLES`. meter: "4/4", "3/4" or "6/8".
    tempo: lowest and highest BPM; of dotted quarters in 6/8. files: of MMA's library. swing: share
    of the beat that the first of two eighths takes (0.5 even, 0.67 triplets). sevenths: chance
    that a chord gets its seventh. syncopation: chance that a strong note comes an eighth early.
    density: sung notes a second, about. minor: share of songs in a minor mode.
    """

    name: str
    style: str
    meter: str
    tempo: tuple[int, int]
    files: str
    swing: float = 0.5
    sevenths: float = 0.1
    syncopation: float = 0.1
    density: float = 2.0
    minor: float = 0.35

    @property
    def beats_per_bar(self) -> int:
        """Beats of a written bar; 6/8 has two dotted quarters."""
        return {"4/4": 4, "3/4": 3, "6/8": 2}[self.meter]


FAMILIES = (
    Family("soft pop", "pop", "4/4", (76, 126), "8beat popballad softrock bubblerock", minor=0.4,
           syncopation=0.25, density=2.3),
    Family("soul", "pop", "4/4", (72, 116), "dsoul rb rb-ballad", sevenths=0.35, syncopation=0.3),
    Family("rock", "rock", "4/4", (96, 152), "basicrock desert jazzrock", syncopation=0.2,
           density=2.3, minor=0.45, sevenths=0.05),
    Family("rock and roll", "rock", "4/4", (116, 176), "50srock 60srock twist", sevenths=0.2,
           density=2.4, minor=0.1),
    Family("rock ballad", "ballad", "4/4", (60, 92), "rockballad ballad pianoballad stringballad",
           density=1.8),
    Family("twelve-eight ballad", "ballad", "4/4", (60, 84), "ballad128 rock-128 blues128",
           swing=0.67, sevenths=0.15, density=1.7),
    Family("six-eight ballad", "ballad", "6/8", (84, 100), "ballad68 arpeggio68 blues68",
           density=1.9),
    Family("gospel", "ballad", "4/4", (66, 112),
           "popspiritual spiritual slowspiritual hymn", sevenths=0.2, minor=0.15),
    Family("guitar folk", "folk", "4/4", (72, 116),
           "guitarballad folkballad arpeggio44 cubanguitar lullaby", density=1.9),
    Family("folk", "folk", "4/4", (84, 144), "folk folkrock bluefolk folkyjazz", density=2.2),
    Family("jig", "folk", "6/8", (80, 112), "68march 68swing afro-cuban", density=2.4, minor=0.3),
    Family("country", "country", "4/4", (84, 140), "slowcountry countryswing westernswing",
           sevenths=0.15, minor=0.1),
    Family("bluegrass", "country", "4/4", (108, 180), "bluegrass hillcountry march", density=2.6,
           minor=0.15),
    Family("swing", "swing", "4/4", (100, 180), "swing easyswing foxtrot fastswing softshoe",
           swing=0.64, sevenths=0.6, syncopation=0.3, minor=0.3),
    Family("jazz combo", "swing", "4/4", (92, 172),
           "jazzguitar mellowjazz jazzcombo gypsyjazz nitejazz modernjazz", swing=0.62,
           sevenths=0.8, syncopation=0.3, minor=0.4),
    Family("dixieland", "swing", "4/4", (108, 180), "dixie ragtime charleston dixiemarch",
           swing=0.6, sevenths=0.3, syncopation=0.25, density=2.4, minor=0.1),
    Family("blues", "blues", "4/4", (66, 124), "blues slowblues countryblues", swing=0.66,
           sevenths=0.7, syncopation=0.2, minor=0.25),
    Family("boogie", "blues", "4/4", (108, 172), "boggiewoggie shuffleboggie fastblues jive",
           swing=0.64, sevenths=0.5, density=2.4, minor=0.15),
    Family("salsa", "latin", "4/4", (88, 150), "salsa mambo merengue samba chacha calypso",
           syncopation=0.35, density=2.4, sevenths=0.2),
    Family("bolero", "latin", "4/4", (80, 132),
           "rhumba beguine bolero slowbolero tango lighttango", sevenths=0.15, minor=0.55),
    Family("bossa nova", "bossa", "4/4", (96, 148), "bossanova jazzrhumba", sevenths=0.8,
           syncopation=0.4, density=2.0, minor=0.4),
    Family("funk", "funk", "4/4", (84, 120), "bvfunk lfusion strut", sevenths=0.5,
           syncopation=0.4, density=2.5, minor=0.5),
    Family("disco", "dance", "4/4", (104, 134), "boneym trance", syncopation=0.25, density=2.4,
           minor=0.5),
    Family("ska", "dance", "4/4", (108, 164), "ska zydeco", syncopation=0.2, density=2.5,
           minor=0.25),
    Family("show tune", "dance", "4/4", (100, 172), "broadway showtune quickstep slowbroadway",
           sevenths=0.3, density=2.2, minor=0.2),
    Family("waltz", "waltz", "3/4", (96, 180), "waltz vienesewaltz fastwaltz frenchwaltz",
           sevenths=0.15),
    Family("jazz waltz", "waltz", "3/4", (100, 172), "jazzwaltz fastjazzwaltz modernjazzwaltz",
           swing=0.62, sevenths=0.7, syncopation=0.2),
    Family("slow waltz", "waltz", "3/4", (84, 132),
           "countrywaltz rockwaltz arpeggiowaltz broadwaywaltz latinwaltz"),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}
