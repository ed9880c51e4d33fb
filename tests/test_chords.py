"""Chords and notes are spelled as a musician reads them."""

import pytest

from fastsag.chords import PITCH_CLASSES, pitch_class, respelled, spelling, written


@pytest.mark.parametrize(
    ("key", "label", "expected"),
    [
        ("B major", "Ab:min", "G#m"),
        ("F major", "Bb:maj", "Bb"),
        ("D minor", "Bb:maj", "Bb"),
        ("E minor", "F#:maj", "F#"),
        ("Eb minor", "F#:maj", "Gb"),
        ("C# minor", "Ab:maj", "G#"),
        ("C major", "Bb:maj", "Bb"),
        ("A major", "N", "N.C."),
    ],
)
def test_a_key_decides_between_sharps_and_flats(key, label, expected):
    assert written(label, key) == expected


def test_every_spelling_names_the_same_notes():
    for tonic in PITCH_CLASSES:
        for mode in ("major", "minor"):
            names = spelling(f"{tonic} {mode}")
            assert [pitch_class(name) for name in names] == list(range(12))
            assert tonic in names


def test_what_follows_the_root_stays():
    assert respelled("Ebm7b5", "B major") == "D#m7b5" and respelled("Bb3", "E major") == "A#3"
    assert respelled("N.C.", "E major") == "N.C." and respelled("Ab", None) == "Ab"
