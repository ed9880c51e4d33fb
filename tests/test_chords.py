"""Chords and notes are spelled as a musician reads them."""

import pytest

from fastsag.chords import (
    CHORDS,
    PITCH_CLASSES,
    QUALITIES,
    Chord,
    chord_of,
    key_name,
    parse_chord,
    pitch_class,
    respelled,
    spelling,
    written,
)


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
        ("E major", "Ab:min7/b3", "G#m7/B"),
        ("F major", "C:7/b7", "C7/Bb"),
        ("C minor", "D:hdim7", "Dm7b5"),
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


def test_every_chord_is_read_as_it_is_written():
    for quality in QUALITIES:
        for root in range(12):
            chord = Chord(root, quality, bass=(3 * root) % 12)
            assert chord_of(chord.harte) == chord
            assert parse_chord(chord.harte) == chord.harte
            for key in (None, *map(key_name, range(0, 24, 5))):
                assert parse_chord(written(chord.harte, key)) == chord.harte


def test_triads_of_chords_are_labels_that_the_planner_knows():
    assert {Chord(root, quality).triad for quality in QUALITIES for root in range(12)} <= {*CHORDS}
    assert Chord(9, "minmaj7").triad == "A:min" and Chord(11, "dim").triad == "G:maj"
    assert Chord(7, "sus4").triad == "G:maj" and Chord(11, "hdim7").triad == "D:min"


@pytest.mark.parametrize("label", ["C", "C:", "C:foo", "C:maj/9", "H:maj", ""])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(ValueError):
        chord_of(label)
