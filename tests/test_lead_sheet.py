"""Lead sheets: labels, positions and frame-level features."""

import numpy as np
import pytest

from fastsag.chords import CHORDS, chord_index, chord_tones, key_index, key_name, pitch_class
from fastsag.lead_sheet import PLAN_FEATURES, STYLES, LeadSheet, from_record


@pytest.fixture
def sheet() -> LeadSheet:
    """Four bars of 4/4 at 120 BPM after one pickup beat."""
    return LeadSheet(
        beats=0.25 + 0.5 * np.arange(17),
        beats_per_bar=4,
        first_downbeat=1,
        key="A minor",
        chords=("A:min", "A:min", "F:maj", "C:maj", "G:maj"),
        style="folk",
    )


def test_names():
    assert [pitch_class(name) for name in ("C", "F#", "Bb", "B#", "Cb")] == [0, 6, 10, 0, 11]
    assert all(chord_index(label) == index for index, label in enumerate(CHORDS))
    assert all(key_index(key_name(index)) == index for index in range(24))
    assert chord_tones(chord_index("A:min")) == (9, 0, 4)
    assert chord_tones(chord_index("N")) == ()


@pytest.mark.parametrize("label", ["H:maj", "C:dim7", "C", ""])
def test_unknown_chords_are_refused(label):
    with pytest.raises(ValueError):
        chord_index(label)


def test_phases_are_zero_on_beats_and_bars(sheet):
    features = sheet.features(sheet.beats)
    assert features.shape == (PLAN_FEATURES, 17)
    np.testing.assert_allclose(features[0], 0, atol=1e-5)
    np.testing.assert_allclose(features[1], 1, atol=1e-5)
    downbeats = features[3] > 0.99
    assert list(np.flatnonzero(downbeats)) == [1, 5, 9, 13]


def test_chords_change_with_the_bars(sheet):
    middle_of_bar_two = sheet.beats[1] + 2.0 + 1.0
    features = sheet.features(np.array([middle_of_bar_two]))[:, 0]
    assert set(np.flatnonzero(features[4:16])) == {5, 9, 0}
    assert np.flatnonzero(features[16:28]) == [5]
    assert np.flatnonzero(features[28:]) == [STYLES.index("folk")]


def test_time_outside_the_beats_is_extrapolated(sheet):
    assert sheet.beat_position(np.array([-0.25]))[0] == pytest.approx(-1)
    assert sheet.beat_position(np.array([sheet.beats[-1] + 1]))[0] == pytest.approx(18)


def test_from_record_reads_the_truth():
    record = {
        "beats": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0],
        "downbeats": [0.5, 2.0],
        "beats_per_bar": 3,
        "key": "D major",
        "chords": [
            {"start": 0.5, "end": 2.0, "label": "D:maj"},
            {"start": 2.0, "end": 3.5, "label": "A:maj"},
        ],
        "style": "waltz",
    }
    sheet = from_record(record)
    assert sheet.tempo == pytest.approx(120)
    assert sheet.chords[1:] == ("D:maj", "A:maj")
    assert sheet.chord_times() == [(0.5, "D:maj"), (2.0, "A:maj")]
