"""Every layout of songs and stems is recognised for what it is."""

from pathlib import Path

import pytest

from fastsag.data.sources import Source, content_id, find
from fastsag.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def named(root: Path, **options: object) -> dict[str, Source]:
    return {source.name: source for source in find([root], **options)}  # type: ignore[arg-type]


def test_any_audio_file_is_a_song_to_separate(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3", "album/b.M4A", "album/.hidden.wav", "album/cover.jpg", "notes.txt")
    found = named(tmp_path)
    assert list(found) == ["a.mp3", "album/b.M4A"]
    assert found["a.mp3"].mix == (str(tmp_path / "a.mp3"), 0) and not found["a.mp3"].given


@pytest.mark.parametrize(
    "names",
    [
        ("song/vocals.wav", "song/accompaniment.flac"),
        ("song/vocals.mp3", "song/no_vocals.mp3", "song/whole.mp3"),
        ("song_vocals.wav", "song_no_vocals.wav"),
        ("song.vocals.wav", "song.accompaniment.wav"),
    ],
)
def test_given_stems(tmp_path: Path, names: tuple[str, ...]) -> None:
    (source,) = find([touch(tmp_path, *names)])
    assert source.name == "song" and source.given and source.song is None
    assert [Path(path).name for path, _ in source.parts] == [Path(name).name for name in names[:2]]


def test_three_instruments_add_up_to_the_accompaniment(tmp_path: Path) -> None:
    touch(tmp_path, *(f"x/{name}.wav" for name in ("vocals", "bass", "drums", "other")))
    (source,) = find([tmp_path])
    assert [Path(path).stem for path, _ in source.rest] == ["drums", "bass", "other"]
    assert source.subset is None


def test_musdb_in_both_layouts(tmp_path: Path) -> None:
    parts = ("mixture", "drums", "bass", "other", "vocals")
    touch(tmp_path, *(f"test/A - B/{name}.wav" for name in parts), "train/C - D.stem.mp4")
    found = named(tmp_path)
    assert {name: source.subset for name, source in found.items()} == {
        "test/A - B": "test",
        "train/C - D.stem.mp4": "train",
    }
    file = found["train/C - D.stem.mp4"]
    assert [stream for _, stream in file.parts] == [4, 1, 2, 3] and len(file.files) == 1
    mixes = named(tmp_path, prefer_mixtures=True)
    assert not any(source.given for source in mixes.values())
    assert Path(mixes["test/A - B"].files[0]).name == "mixture.wav"


def test_the_authors_clips_of_a_song_stay_together(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"000007/00{k}_{part}.wav" for k in (0, 1) for part in ("vocals", "no_vocals"))
    )
    assert {source.name: source.song for source in find([tmp_path])} == {
        "000007/000": "000007",
        "000007/001": "000007",
    }


def test_half_a_pair_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a_vocals.wav", "b_no_vocals.wav", "c/vocals.wav")
    problems = {source.name: source.problem for source in find([tmp_path])}
    assert "no accompaniment" in str(problems["a"]) and "no vocals" in str(problems["b"])
    assert "no accompaniment" in str(problems["c"])


def test_output_folder_links_and_several_roots(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.wav", "in/out/work/b.wav", "more/a.wav")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert list(named(tmp_path / "in", skip=tmp_path / "in" / "out")) == ["a.wav"]
    both = find([tmp_path / "in", tmp_path / "more"], skip=tmp_path / "in" / "out")
    assert [source.name for source in both] == ["in/a.wav", "more/a.wav"]
    assert [source.name for source in find([tmp_path / "more" / "a.wav"])] == ["a.wav"]


def test_identity_is_the_audio_not_the_path(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.wav", "b/vocals.wav", "b/no_vocals.wav", "c.wav")
    (tmp_path / "d.wav").write_bytes((tmp_path / "a" / "x.wav").read_bytes())
    ids = {name: content_id(source) for name, source in named(tmp_path).items()}
    assert ids["a/x.wav"] == ids["d.wav"] and len(set(ids.values())) == 3


def test_a_source_survives_json(tmp_path: Path) -> None:
    touch(tmp_path, "test/x.stem.mp4")
    (source,) = find([tmp_path])
    assert Source.from_record(source.record()) == source


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_nothing_to_do_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        find([tmp_path / name])
