"""Recording conditions: each does what it says, keeps time and obeys its settings."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from fastsag.data.shards import Record
from fastsag.errors import UserError
from fastsag.songs import conditions, generator, settings
from fastsag.songs.conditions import CONDITIONS, Dice, record_voice
from fastsag.songs.syllables import RATE

SECONDS = 4


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """A voice of sorts: gliding harmonics in phrases."""
    time = np.arange(SECONDS * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(180 + 60 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    tone = sum(np.sin(number * phase) / number for number in range(1, 25))
    sound = tone * (np.sin(2 * np.pi * 0.8 * time) > -0.4)
    return 0.1 * sound / np.sqrt(np.mean(sound**2))


@pytest.fixture(scope="module")
def band() -> np.ndarray:
    time = np.arange(SECONDS * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220, 277.2, 329.6, 1_500))
    return 0.1 * chord * (1 + np.sign(np.sin(2 * np.pi * 2 * time)))


def changed(name: str, voice: np.ndarray, band: np.ndarray, seed: int = 0) -> np.ndarray:
    wanted = getattr(settings.Conditions(), name)
    out = CONDITIONS[name](voice, band, wanted, Dice(np.random.default_rng(seed)))
    assert out is not None
    return out


def density(sound: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    return float(power[(hz >= low) & (hz < high)].sum() / power.sum())


REAL = [name for name in CONDITIONS if name != "separated"]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("seed", range(3))
def test_time_and_length_are_kept(
    name: str, seed: int, voice: np.ndarray, band: np.ndarray
) -> None:
    out = changed(name, voice, band, seed)
    assert out.shape == voice.shape and np.isfinite(out).all()
    assert not np.array_equal(out, voice)
    correlation = fftconvolve(out, voice[::-1])
    assert abs(int(np.argmax(correlation)) - (len(voice) - 1)) <= 1
    assert np.corrcoef(out, voice)[0, 1] > 0.5


@pytest.mark.parametrize("name", REAL)
def test_same_dice_same_sound(name: str, voice: np.ndarray, band: np.ndarray) -> None:
    assert np.array_equal(changed(name, voice, band), changed(name, voice, band))


def test_a_room_rings_after_the_voice(voice: np.ndarray, band: np.ndarray) -> None:
    short = np.where(np.arange(len(voice)) < RATE, voice, 0)
    out = changed("room", short, band)
    assert np.abs(out[int(1.02 * RATE) : int(1.1 * RATE)]).max() > 1e-3


def test_a_phone_has_a_narrow_band(voice: np.ndarray, band: np.ndarray) -> None:
    out = changed("phone", voice, band)
    assert density(out, 300, 3_400) > 0.97 > density(voice, 300, 3_400)


def test_noises_are_as_loud_as_they_are_said_to_be(voice: np.ndarray, band: np.ndarray) -> None:
    for name in ("bleed", "noise", "hum", "musical_noise"):
        dice = Dice(np.random.default_rng(4))
        out = CONDITIONS[name](voice, band, getattr(settings.Conditions(), name), dice)
        level = 10 * np.log10(np.mean((out - voice) ** 2) / 0.1**2)
        assert level == pytest.approx(dice.drawn["level_db"], abs=0.1), name


def test_holes_are_where_the_band_is_louder(voice: np.ndarray, band: np.ndarray) -> None:
    out = changed("holes", voice, band)
    lost = voice - out
    assert density(lost, 1_450, 1_550) > 3 * density(voice, 1_450, 1_550)


def test_a_clipped_voice_is_flat_at_the_top(voice: np.ndarray, band: np.ndarray) -> None:
    out = np.abs(changed("clipping", voice, band))
    assert (out > 0.95 * out.max()).mean() > 2 * (np.abs(voice) > 0.95 * np.abs(voice).max()).mean()


def test_probabilities_are_obeyed(voice: np.ndarray, band: np.ndarray) -> None:
    short, soft = voice[:RATE], band[:RATE]
    none = settings.Conditions.model_validate(
        {"clean": 0.0} | {name: {"probability": 0} for name in CONDITIONS}
    )
    out, met = record_voice(short, soft, none, np.random.default_rng(0))
    assert met == {}
    np.testing.assert_allclose(out / np.abs(out).max(), short / np.abs(short).max(), atol=1e-4)
    sure = none.model_copy(update={"room": settings.Room(probability=1)})
    _, met = record_voice(short, soft, sure, np.random.default_rng(0))
    assert list(met) == ["room"]
    assert set(met["room"]) == {"seconds", "reverb_db"}
    default = settings.Conditions()
    counts = [
        len(record_voice(short, soft, default, np.random.default_rng(i))[1]) for i in range(60)
    ]
    assert min(counts) == 0 and 1.5 < np.mean(counts) < 3.5


def test_one_probability_leaves_the_other_dice_alone(voice: np.ndarray, band: np.ndarray) -> None:
    for seed in range(5):
        with_noise = settings.Conditions(clean=0, noise=settings.Noise(probability=1))
        without = settings.Conditions(clean=0, noise=settings.Noise(probability=0))
        drawn = [
            record_voice(voice[:RATE], band[:RATE], one, np.random.default_rng(seed))[1]
            for one in (with_noise, without)
        ]
        drawn[0].pop("noise")
        assert drawn[0] == drawn[1]


def test_separation_is_skipped_with_a_message_where_there_are_no_weights(
    voice: np.ndarray, band: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = settings.Separated(probability=1, model="no-such-model")
    conditions._separator.cache_clear()
    assert conditions.separated(voice, band, wanted, Dice(np.random.default_rng(0))) is None
    assert "no separated voices" in capsys.readouterr().out


def test_a_separator_hears_the_mix(
    voice: np.ndarray, band: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Demucs' place holder is given is voice and band at the drawn balance."""
    heard = {}

    def fake(mix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        heard["mix"] = mix
        return 0.5 * mix, 0.5 * mix

    monkeypatch.setattr(conditions, "_separator", lambda model: fake)
    dice = Dice(np.random.default_rng(0))
    out = conditions.separated(voice, band, settings.Separated(probability=1), dice)
    assert out is not None and out.shape == voice.shape
    assert heard["mix"].shape[0] == 2
    assert heard["mix"].shape[1] == pytest.approx(len(voice) * 44_100 / RATE, abs=2)
    balance = 10 ** (-dice.drawn["voice_db"] / 20)
    mix = voice + band * (0.1 * balance / np.sqrt(np.mean(band**2)))
    inner = slice(500, -500)
    assert np.corrcoef(out[inner], mix[inner])[0, 1] > 0.999


def test_settings_are_strict(tmp_path) -> None:
    path = tmp_path / "songs.yaml"
    path.write_text("conditions: {phone: {probability: 0.5}}\nfamilies: [waltz]\n")
    read = settings.load_settings(path)
    assert read.conditions.phone.probability == 0.5 and read.families == ("waltz",)
    assert read.conditions.room == settings.Room()
    for text, reason in (
        ("conditions: {telephone: {probability: 1}}", "telephone"),
        ("conditions: {phone: {probability: 2}}", "probability"),
        ("families: [polka]", "polka"),
        ("seconds: [60, 30]", "seconds"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=reason):
            settings.load_settings(path)


@pytest.mark.parametrize("name", settings.RECORDINGS)
def test_recordings_have_their_conditions_and_no_other(
    name: str, voice: np.ndarray, band: np.ndarray
) -> None:
    wanted = {
        "clean": set(),
        "room": {"room", "microphone"},
        "noise": {"noise", "hum"},
        "phone": {"phone", "lossy"},
        "separated": {"holes", "musical_noise"},
    }
    for seed in range(3):
        rng = np.random.default_rng(seed)
        assert set(record_voice(voice, band, settings.RECORDINGS[name], rng)[1]) == wanted[name]


def test_unpacked_recordings_are_of_one_take(monkeypatch) -> None:
    def record(seed, index, bands, reserved, settings):
        voice = np.full(4, settings.conditions.clean, dtype=np.float32)
        yield Record(f"{seed}-{index}", voice, np.arange(4.0), {"song": f"{seed}-{index}"})

    monkeypatch.setattr(generator, "song_records", record)
    found = list(
        generator.unpacked(9, 3, True, settings.SongSettings(), ["clean", "phone", "clean"])
    )
    assert [one.key for one in found] == ["9-3-clean", "9-3-phone"]
    assert [one.meta["recording"] for one in found] == ["clean", "phone"]
    assert found[0].vocals[0] == 1 and found[1].vocals[0] == 0
    (plain,) = generator.unpacked(9, 3, True, settings.SongSettings())
    assert plain.key == "9-3" and "recording" not in plain.meta
