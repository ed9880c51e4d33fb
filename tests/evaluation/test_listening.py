"""The listening test: balanced, blind, resumable, and counted right."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from math import ceil, floor, lcm
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon
from typer.testing import CliRunner

from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation.listening.page import LEVEL_LUFS, gather, make, template
from fastsag.evaluation.listening.plan import ALL, choose, plan, read_subsets
from fastsag.evaluation.listening.ratings import COLUMNS, Rating, gaps, read_key, read_ratings
from fastsag.evaluation.listening.results import (
    PAPER,
    holm,
    mos,
    pairs,
    paper_score,
    plot,
    signed_rank,
    summary,
    table,
)
from fastsag.levels import loudness

NAMES = ("Human", "FastSAG", "RandSong")
RATE = 8_000
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


# --- the plan ---


def pool(inside: int, outside: int) -> dict[str, str]:
    return {f"in{i}": "in-domain" for i in range(inside)} | {
        f"zero{i}": "zero-shot" for i in range(outside)
    }


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_plan_is_balanced(data: st.DataObject) -> None:
    inside, outside = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 25))
    clips = pool(inside, outside)
    systems = [f"s{i}" for i in range(data.draw(st.integers(2, 6)))]
    listeners = data.draw(st.integers(1, 20))
    trials = data.draw(st.integers(1, len(clips)))
    assigned = plan(clips, systems, listeners, trials, data.draw(st.integers(0, 99)))

    assert [len(own) for own in assigned] == [trials] * listeners
    for own in assigned:
        assert len({trial.clip for trial in own}) == trials
        heard = sum(trial.subset == "in-domain" for trial in own)
        share = trials * inside / len(clips)
        assert floor(share) <= heard <= ceil(share)
        for subset in set(clips.values()):
            systems_heard = Counter(trial.system for trial in own if trial.subset == subset)
            assert spread([systems_heard[system] for system in systems]) <= 2
    flat = [trial for own in assigned for trial in own]
    assert all(clips[trial.clip] == trial.subset for trial in flat)
    pair_counts = Counter((trial.clip, trial.system) for trial in flat)
    assert spread([pair_counts[clip, system] for clip in clips for system in systems]) <= 1
    clip_counts = Counter(trial.clip for trial in flat)
    assert spread([clip_counts[clip] for clip in clips]) <= 1


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_papers_test_is_balanced_exactly(seed: int) -> None:
    clips, systems = pool(67, 33), list(PAPER)
    assigned = plan(clips, systems, 15, 20, seed)
    assert lcm(67, 5) > 15 * 14  # the deal never takes its further step
    for own in assigned:
        assert set(Counter(trial.system for trial in own).values()) == {4}
        assert sum(trial.subset == "in-domain" for trial in own) in (13, 14)
    flat = [trial for own in assigned for trial in own]
    assert set(Counter(trial.clip for trial in flat).values()) == {3}
    assert len({(trial.clip, trial.system) for trial in flat}) == 300


def test_a_plan_depends_on_its_seed_alone() -> None:
    clips = pool(20, 10)
    shuffled = dict(reversed(clips.items()))
    one = plan(clips, ["a", "b", "c"], 5, 10, 7)
    assert one == plan(shuffled, ["a", "b", "c"], 5, 10, 7)
    assert one != plan(clips, ["a", "b", "c"], 5, 10, 8)


def test_clips_are_heard_in_no_order() -> None:
    assigned = plan(pool(67, 33), list(PAPER), 15, 20, 0)
    for own in assigned:
        subsets = [trial.subset for trial in own]
        assert subsets not in (sorted(subsets), sorted(subsets, reverse=True))


@pytest.mark.parametrize("arguments", [(["a"], 2, 2), (["a", "b"], 2, 4)])
def test_impossible_plans_are_refused(arguments: tuple) -> None:
    with pytest.raises(UserError):
        plan(pool(2, 1), *arguments, 0)


def test_clips_are_chosen_two_to_one() -> None:
    chosen = choose(pool(200, 60), 100, 3)
    assert Counter(chosen.values()) == {"in-domain": 67, "zero-shot": 33}
    assert chosen == choose(pool(200, 60), 100, 3) != choose(pool(200, 60), 100, 4)
    assert len(choose(dict.fromkeys("abcde", ALL), 3, 0)) == 3
    with pytest.raises(UserError, match="20 clips are zero-shot.*33 are needed"):
        choose(pool(200, 20), 100, 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("song,part\n", ":1: the first line"),
        ("clip,subset\na,in-domain\nb,elsewhere\n", ":3: write"),
        ("clip,subset\na,in-domain\n\na,zero-shot\n", ":4: a a second time"),
    ],
)
def test_bad_subset_files_are_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "subsets.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{file}{reason}")):
        read_subsets(file)


# --- the page ---


def write_mixtures(folder: Path, clips: int = 6) -> dict[str, Path]:
    """Noise of different loudness, length and tags by system."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for clip in range(clips):
            noise = 0.02 * 3**index * rng.standard_normal(RATE + 400 * index)
            path = folder / name / f"song{clip}.mix.wav"
            with soundfile.SoundFile(path, "w", RATE, 1) as file:
                file.title = name
                file.write(noise)
    return {name: folder / name for name in NAMES}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The page folder and the key of a test of 6 clips, 3 systems, 4 listeners, 3 trials."""
    folder = tmp_path_factory.mktemp("listening")
    folders = write_mixtures(folder / "systems")
    key = make(folders, folder / "test", clips=6, listeners=4, trials=3, seed=1)
    return folder / "test", read_key(key)


def test_the_page_does_not_name_systems_or_clips(built: tuple[Path, dict]) -> None:
    page, key = built
    assert sorted(key["systems"].values()) == sorted(NAMES)
    sounds = {trial["file"] for own in key["listeners"] for trial in own}
    names = {path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file()}
    assert names == sounds | {"index.html", "audio/volume.flac"}
    for path in page.rglob("*"):
        content = path.read_bytes().lower() if path.is_file() else b""
        for secret in (*NAMES, "song0", "song1"):
            assert secret.lower().encode() not in content
            assert secret.lower() not in path.relative_to(page).as_posix().lower()


def test_all_sounds_are_alike_in_level_length_and_format(built: tuple[Path, dict]) -> None:
    page, _ = built
    for path in (page / "audio").iterdir():
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert loudness(samples.T, rate) == pytest.approx(LEVEL_LUFS, abs=0.1)
        if path.stem != "volume":
            assert len(samples) == RATE


def test_every_sound_is_what_the_key_says(tmp_path: Path) -> None:
    hz = {
        (name, f"song{clip}"): 500.0 + 400 * index + 100 * clip
        for index, name in enumerate(NAMES)
        for clip in range(4)
    }
    for (name, clip), frequency in hz.items():
        (tmp_path / name).mkdir(exist_ok=True)
        tone = 0.1 * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)
        soundfile.write(tmp_path / name / f"{clip}.wav", tone, RATE)
    folders = {name: tmp_path / name for name in NAMES}
    key = read_key(make(folders, tmp_path / "test", clips=4, listeners=3, trials=4))
    for trial in (trial for own in key["listeners"] for trial in own):
        samples, _ = soundfile.read(tmp_path / "test" / trial["file"])
        true = key["systems"][trial["system"]], key["clips"][trial["clip"]]["name"]
        assert np.argmax(np.abs(np.fft.rfft(samples))) == hz[true]  # one bin is 1 Hz


def test_the_page_needs_no_network(built: tuple[Path, dict]) -> None:
    text = (built[0] / "index.html").read_text()
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {"data:,"}
    assert "/*PLAN*/" not in text


def test_the_same_seed_gives_the_same_folder(built: tuple[Path, dict], tmp_path: Path) -> None:
    folders = write_mixtures(tmp_path / "systems")
    page = tmp_path / "again"
    make(folders, page, clips=6, listeners=4, trials=3, seed=1)
    files = [path for path in page.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert path.read_bytes() == (built[0] / path.relative_to(page)).read_bytes()
    other = make(folders, tmp_path / "other", clips=6, listeners=4, trials=3, seed=2)
    assert read_key(other)["test"] != built[1]["test"]


def test_nothing_is_overwritten_and_failures_leave_nothing(tmp_path: Path) -> None:
    folders = write_mixtures(tmp_path / "systems", clips=2)
    (folders["Human"] / "song1.mix.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match="song1.mix.wav"):
        make(folders, tmp_path / "test", clips=2, listeners=2, trials=2)
    assert [path.name for path in tmp_path.iterdir()] == ["systems"]
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="exists already"):
        make(folders, tmp_path / "test", clips=2, listeners=2, trials=2)


def test_only_clips_of_all_systems_are_taken(tmp_path: Path) -> None:
    folders = write_mixtures(tmp_path, clips=3)
    (folders["Human"] / "song0.mix.wav").unlink()
    (folders["FastSAG"] / "song1.accompaniment.wav").write_bytes(b"not a mixture")
    assert set(gather(folders)) == {"song1", "song2"}
    for clip in (1, 2):
        (folders["Human"] / f"song{clip}.mix.wav").unlink()
    with pytest.raises(UserError, match="no clip common"):
        gather(folders)


def test_labels_point_at_what_is_there() -> None:
    text = template()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'\$\("([^"]+)"\)', text)
    named = re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', text)
    assert set(used) | set(named) <= set(ids)
    assert '<html lang="en">' in text and "prefers-color-scheme: dark" in text


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_can_be_told_apart(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", template(), flags=re.DOTALL)[scheme]
    colour = dict(re.findall(r"--([\w-]+): (#\w{6})", block))

    def contrast(one: str, other: str) -> float:
        low, high = sorted([luminance(colour[one]), luminance(colour[other])])
        return (high + 0.05) / (low + 0.05)

    for ink in ("ink", "quiet", "alarm", "accent"):
        assert contrast(ink, "sheet") >= 4.5
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("line", "sheet") >= 3


# --- the page's script ---


def script(name: str, text: str | None = None) -> str:
    (found,) = re.findall(rf'<script id="{name}">(.*?)</script>', text or template(), re.DOTALL)
    return found


def node(code: str) -> str:
    run = subprocess.run(["node", "-"], input=code, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_node
@pytest.mark.parametrize("name", ["logic", "page"])
def test_the_script_parses(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.js"
    file.write_text(script(name))
    subprocess.run(["node", "--check", str(file)], check=True)


LOGIC = """
const assert = require("node:assert/strict");
let s = Logic.start(2, "abc", 2);
const go = (type, more) => { const before = s; s = Logic.step(s, { type, now: 0, ...more });
  return s !== before; };

assert(!go("next") && !go("rate", { rating: 3 }) && !go("begin"));
assert(go("volume") && s.phase === "instructions");
assert(go("begin") && s.phase === "trial");
assert(!go("back"));

// no rating before the clip was heard, no next before a rating
assert(!go("rate", { rating: 3 }) && !go("next") && !go("ended"));
assert(go("play", { now: 1000 }));
assert(!go("rate", { rating: 3 }));
assert(go("ended", { now: 2000 }) && !go("next"));
for (const rating of [0, 6, 2.5, "3", null]) assert(!go("rate", { rating }));
assert(go("rate", { rating: 4, now: 3500 }));
assert(go("play", { now: 5000 }) && go("rate", { rating: 5, now: 9000 }));
assert.deepEqual([s.trials[0].rt, s.trials[0].plays, s.trials[0].rating], [2500, 2, 5]);

// closed and opened again: the same place; time away does not count
assert(go("next") && s.index === 1 && go("play", { now: 10000 }));
s = Logic.resume(JSON.stringify(s), 2);
assert.deepEqual([s.index, s.trials[0].rating, s.trials[1].started], [1, 5, null]);
for (const bad of ["", "null", "[]", "{}", "7", '{"phase":"x","index":0,"trials":[1,2]}'])
  assert.equal(Logic.resume(bad, 2), null);
assert.equal(Logic.resume(JSON.stringify(s), 3), null);

// what cannot be played may be passed over and leaves no row
assert(go("fail") && go("next") && s.phase === "done");
const plan = [{ clip: "c1", subset: 'a"b', system: "s1" },
  { clip: "c2", subset: "x", system: "s2" }];
assert.equal(Logic.csv(s, plan), "listener_id,session_id,trial_index,clip_id,subset,system," +
  "rating,play_count,rt_ms,timestamp\\r\\n" +
  '2,abc,1,c1,"a""b",s1,5,2,2500,1970-01-01T00:00:09.000Z\\r\\n');
assert(go("back") && s.phase === "trial" && s.index === 1 && go("back") && s.index === 0);
assert.equal(Logic.settledCount(s), 2);

// it can be heard after all: then it wants a rating
assert(go("next") && go("play", { now: 1 }) && go("ended") && !go("next"));
assert(go("rate", { rating: 1, now: 2 }) && go("next") && s.phase === "done");

assert.deepEqual(Logic.key("4"), { type: "rate", rating: 4 });
assert.deepEqual(["6", "a", "Tab", "12"].map(Logic.key), [null, null, null, null]);
assert.deepEqual([" ", "Enter", "ArrowRight", "ArrowLeft"].map((k) => Logic.key(k).type),
  ["toggle", "next", "next", "back"]);
console.log("passed");
"""


@needs_node
def test_the_state_machine() -> None:
    assert node(script("logic") + LOGIC) == "passed\n"


# As much of a browser as the page uses; sounds end when the test says so.
BROWSER = """
const handlers = () => ({ on: {}, addEventListener(type, f) { (this.on[type] ??= []).push(f); },
  fire(type, event = {}) { for (const f of this.on[type] ?? [])
    f({ preventDefault() {}, target: this, key: "", ...event }); } });
const element = (id) => ({ ...handlers(), id, hidden: true, disabled: false, value: "",
  textContent: "", attributes: {}, children: [],
  setAttribute(n, v) { this.attributes[n] = v; },
  getAttribute(n) { return this.attributes[n] ?? null; },
  append(child) { this.children.push(child); }, focus() { document.focused = this; },
  querySelector() { return (this.heading ??= element("h1 of " + id)); },
  closest() { return this.value || this.id ? this : null; },
  click() { if (!this.disabled) this.fire("click"); } });
const elements = Object.fromEntries(IDS.map((id) => [id, element(id)]));
const downloads = [];
let storage = {};
const document = { ...handlers(), getElementById: (id) => elements[id],
  createElement: (tag) => tag === "a" ? { click() { downloads.push(this); } } : element(""),
  querySelectorAll: () =>
    ["welcome", "volume", "instructions", "trial", "done"].map((i) => elements[i]) };
const localStorage = { getItem: (k) => storage[k] ?? null, setItem(k, v) { storage[k] = v; },
  removeItem(k) { delete storage[k]; } };
let player;
class Audio { constructor() { Object.assign(this, handlers(), { attributes: {}, paused: true,
    ended: false, currentTime: 0, duration: 10 }); player = this; }
  set src(v) { this.attributes.src = v; this.paused = true; this.ended = false;
    this.currentTime = 0; }
  getAttribute(n) { return this.attributes[n] ?? null; }
  removeAttribute(n) { delete this.attributes[n]; }
  pause() { this.paused = true; }
  async play() { this.paused = false; this.ended = false; this.currentTime = 0.1; }
  finish() { this.paused = true; this.ended = true; this.currentTime = 10; this.fire("ended"); } }
const Blob = class { constructor(parts) { this.parts = parts; } };
const URL = { createObjectURL: (b) => b.parts[0], revokeObjectURL() {} };
const setTimeout = () => {};
const tick = () => new Promise((done) => setImmediate(done));
const press = (key, target = element("")) => document.fire("keydown", { key, target });
const visible = () => document.querySelectorAll().filter((e) => !e.hidden).map((e) => e.id).join();
elements.plan.textContent = PLAN;
"""

SESSION = """
(async () => {
  const assert = require("node:assert/strict");
  const $ = (id) => elements[id];
  open_page();
  assert.equal(visible(), "welcome");
  for (const wrong of ["", "0", "5", "x", "1.5"]) {
    $("listener").value = wrong; $("enter").fire("submit");
    assert.equal(visible(), "welcome"); assert.match($("enter-error").textContent, /1 to 4/);
  }
  $("listener").value = " 3 "; $("enter").fire("submit");
  assert.equal(visible(), "volume");
  $("volume-done").disabled = true; // as in the markup
  $("noise").click(); await tick(); assert.match(player.attributes.src, /volume/);
  player.finish(); $("volume-done").click(); $("begin").click();
  assert.equal(visible(), "trial");
  for (let i = 0; i < 3; i++) {
    assert.equal($("trial-title").textContent, `Piece ${i + 1} of 3`);
    assert.equal(player.attributes.src, JSON.parse(PLAN).listeners[2][i].file);
    assert.equal(document.focused.id, "h1 of trial");
    const rates = $("scale").children;
    assert(rates.every((b) => b.disabled) && $("next").disabled);
    press("4"); press("Enter"); assert.equal($("trial-title").textContent, `Piece ${i + 1} of 3`);
    press(" "); await tick(); assert.equal(player.paused, false);
    assert.equal($("play").textContent, "Pause");
    press(" "); assert.equal(player.paused, true);
    press(" "); await tick(); player.finish();
    assert(rates.every((b) => !b.disabled));
    if (i === 0) rates[1].click(); else press(String(i + 2));
    assert.equal(rates.filter((b) => b.attributes["aria-pressed"] === "true").length, 1);
    if (i === 1) { open_page(); assert.equal($("trial-title").textContent, "Piece 2 of 3"); }
    if (i < 2) press("ArrowRight");
  }
  press("ArrowLeft"); assert.equal($("trial-title").textContent, "Piece 2 of 3");
  press("Enter"); press("Enter"); assert.equal(visible(), "done");
  $("download").click();
  console.log(downloads[0].href);
  $("leave").click(); assert.equal(visible(), "welcome");
  $("listener").value = "3"; $("enter").fire("submit"); assert.equal(visible(), "done");
})().catch((error) => { console.error(error); process.exit(1); });
"""


@needs_node
def test_a_whole_session_gives_ratings_that_results_take(
    built: tuple[Path, dict], tmp_path: Path
) -> None:
    page, key = built
    text = (page / "index.html").read_text()
    (shown,) = re.findall(r'<script type="application/json" id="plan">(.*?)</script>', text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    start = (
        f"const IDS = {json.dumps(ids)};\nconst PLAN = {json.dumps(shown)};\n{BROWSER}\n"
        "const open_page = () => { document.on = {}; elements.scale.children = [];\n"
        "for (const e of Object.values(elements)) e.on = {};\n"
    )
    output = node(script("logic") + start + script("page", text) + "};" + SESSION)
    file = tmp_path / "listener3.csv"
    file.write_text(output)
    ratings = read_ratings([file], key)
    assert [(r.listener, r.trial, r.rating) for r in ratings] == [(3, 1, 2), (3, 2, 3), (3, 3, 4)]
    # A pause is not another play.
    assert {row["play_count"] for row in csv.DictReader(output.splitlines())} == {"1"}


CHROMIUM = "/usr/bin/chromium"  # Debian's; elsewhere playwright's own is tried
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[tuple[Any, Any]]:
    """playwright's API and a browser, or the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        path = CHROMIUM if Path(CHROMIUM).exists() else None
        try:
            browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        except sync_api.Error as error:
            pytest.skip(f"no browser: {error}")
        try:
            yield sync_api, browser
        finally:
            browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_a_browser_runs_the_page_by_keyboard_alone(
    built: tuple[Path, dict], tmp_path: Path, size: tuple[int, int]
) -> None:
    """From the disk, at desktop and phone width; a reload in the middle; nothing asks the net."""
    with chromium() as (api, browser):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=True
        )
        tab = context.new_page()
        errors: list[str] = []
        asked: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        context.on("request", lambda request: asked.append(request.url))
        tab.goto((built[0] / "index.html").as_uri())

        def reach(name: str) -> None:
            """Tab until the button of that name has the focus."""
            for _ in range(12):
                text = tab.evaluate("document.activeElement.textContent")
                if " ".join(text.split()) == name:
                    return
                tab.keyboard.press("Tab")
            raise AssertionError(f"{name} cannot be reached by Tab")

        tab.keyboard.press("Tab")
        tab.keyboard.type("9")
        tab.keyboard.press("Enter")
        api.expect(tab.get_by_role("alert").first).to_have_text("Enter a number from 1 to 4.")
        tab.keyboard.press("Backspace")
        tab.keyboard.type("2")
        tab.keyboard.press("Enter")
        reach("Play noise")
        tab.keyboard.press("Enter")
        api.expect(tab.locator("#volume-done")).to_be_enabled(timeout=20_000)
        reach("The volume is right")
        tab.keyboard.press("Enter")
        reach("Begin")
        tab.keyboard.press("Enter")
        for trial in range(3):
            api.expect(tab.locator("#trial-title")).to_have_text(f"Piece {trial + 1} of 3")
            scale = tab.locator("#scale button").first
            api.expect(scale).to_be_disabled()
            tab.keyboard.press("5")  # nothing is rated before it was heard
            tab.keyboard.press("ArrowRight")
            api.expect(tab.locator("#trial-title")).to_have_text(f"Piece {trial + 1} of 3")
            before = scale.bounding_box()
            tab.keyboard.press("Space")
            api.expect(scale).to_be_enabled(timeout=20_000)
            assert scale.bounding_box() == before, "the scale moves when it can be used"
            tab.keyboard.press(str(trial + 1))
            pressed = tab.locator("#scale button[aria-pressed=true]")
            api.expect(pressed).to_have_count(1)
            if trial == 1:
                tab.reload()
                api.expect(tab.locator("#trial-title")).to_have_text("Piece 2 of 3")
            wide = tab.evaluate("document.documentElement.scrollWidth")
            assert wide <= size[0], "the page scrolls sideways"
            tab.keyboard.press("ArrowRight")
        with tab.expect_download() as download:
            reach("Download ratings")
            tab.keyboard.press("Enter")
        file = tmp_path / "ratings.csv"
        download.value.save_as(file)
    assert errors == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert [rating.rating for rating in read_ratings([file], built[1])] == [1, 2, 3]


# --- the results ---


def rated(**systems: list[list[int]]) -> list[Rating]:
    """Ratings of each system by each listener."""
    return [
        Rating(listener, "s", 1, f"{system}{listener}{index}", ALL, system, rating)
        for system, listeners in systems.items()
        for listener, own in enumerate(listeners, start=1)
        for index, rating in enumerate(own)
    ]


def test_scores_by_hand() -> None:
    scores = mos(rated(Human=[[5, 4], [4], []], Rand=[[1], [2], [3]]))
    assert [score.system for score in scores] == ["Human", "Rand"]
    human, rand = scores
    assert human.mos == pytest.approx(13 / 3) and rand.mos == 2
    assert (human.ratings, human.listeners, human.paper) == (3, 2, 4.15)
    assert (rand.ratings, rand.listeners, rand.paper) == (3, 3, None)


def test_the_interval_draws_listeners_not_ratings() -> None:
    # Two listeners who never vary: drawn means are 4, 3 and 2, with chances 1/4, 1/2 and 1/4.
    (score,) = mos(rated(A=[[4] * 50, [2] * 50]))
    assert (score.mos, score.low, score.high) == (3, 2, 4)
    # A listener who rated three times as often weighs as much in a draw: (3 * 5 + 1) / 4.
    (score,) = mos(rated(A=[[5, 5, 5], [1]]))
    assert (score.mos, score.low, score.high) == (4, 1, 5)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    rng = np.random.default_rng(0)
    own = [[int(value)] for value in rng.integers(1, 6, 400)]
    (score,) = mos(rated(A=own))
    error = np.std(own) / 20
    assert score.high - score.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert mos(rated(A=own)) == [score] != mos(rated(A=own), seed=1)


def test_pairs_by_hand() -> None:
    # Differences 0.5, 1, 1.5, 2, 3: of 32 signings, one is as extreme on either side.
    a = [[3, 4], [4], [4, 5], [5], [5]]
    b = [[3], [3], [3], [3], [2]]
    (pair,) = pairs(rated(A=a, B=b))
    assert pair.p == pair.p_holm == pytest.approx(2 / 32)
    assert (pair.listeners, pair.difference) == (5, pytest.approx(1.6))


def test_pairs_use_listeners_who_rated_both() -> None:
    (pair,) = pairs(rated(A=[[5], [4], []], B=[[5], [4], [1]]))
    assert (pair.listeners, pair.difference, pair.p) == (2, 0, 1)
    (pair,) = pairs(rated(A=[[5], []], B=[[], [4]]))
    assert (pair.listeners, pair.p) == (0, 1)


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_the_signed_rank_test_counts_all_signings(values: list[int]) -> None:
    own = np.array([value for value in values if value], dtype=float)
    ranks = rankdata(np.abs(own))
    sums = [sum(ranks[list(signs)]) for signs in product([False, True], repeat=len(own))]
    seen = ranks[own > 0].sum()
    tail = min(sum(s <= seen for s in sums), sum(s >= seen for s in sums)) / len(sums)
    expected = min(1, 2 * tail) if len(own) else 1
    assert signed_rank(np.array(values, dtype=float)) == pytest.approx(expected)


@pytest.mark.parametrize("count", [12, 50, 80])
def test_the_signed_rank_test_is_scipys_where_nothing_ties(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.3, 1, count)
    assert signed_rank(differences) == pytest.approx(wilcoxon(differences).pvalue, rel=1e-6)


def test_holm_against_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_as_the_step_down_procedure_does(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= min(1, len(p_values) * p) for p, q in zip(p_values, adjusted, strict=True))
    for alpha in (0.01, 0.05, 0.2):
        rejected, order = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
        for rank, index in enumerate(order):
            if (len(p_values) - rank) * p_values[index] > alpha:
                break
            rejected.add(index)
        assert {i for i, q in enumerate(adjusted) if q <= alpha} == rejected


def test_the_papers_names_are_known_by_any_spelling() -> None:
    assert paper_score("fast_sag") == 3.13 and paper_score("SingSong-SC") == 2.36
    assert paper_score("ours") is None


def rows(key: dict, listener: int) -> list[dict[str, str]]:
    return [
        dict(
            zip(
                COLUMNS,
                [
                    str(listener),
                    "abc",
                    str(index),
                    trial["clip"],
                    trial["subset"],
                    trial["system"],
                    str(1 + (index + listener) % 5),
                    "1",
                    "900",
                    "2024-05-01T09:30:00.000Z",
                ],
                strict=True,
            )
        )
        for index, trial in enumerate(key["listeners"][listener - 1], start=1)
    ]


def write_rows(file: Path, content: list[dict[str, str]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(content)
    return file


def test_ratings_come_back_under_their_names(built: tuple[Path, dict], tmp_path: Path) -> None:
    _, key = built
    ratings = read_ratings([write_rows(tmp_path / "a.csv", rows(key, 2)[:2])], key)
    assert gaps(ratings, key) == [
        "listener 1: 0 of 3 clips rated",
        "listener 2: 2 of 3 clips rated",
        "listener 3: 0 of 3 clips rated",
        "listener 4: 0 of 3 clips rated",
    ]
    first = key["listeners"][1][0]
    assert ratings[0].system == key["systems"][first["system"]] in NAMES
    assert ratings[0].clip == key["clips"][first["clip"]]["name"]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("listener_id", "9", "from 1 to 4"),
        ("listener_id", "3", "trial 2 of listener 3"),
        ("trial_index", "1", "trial 1 of listener 2"),
        ("trial_index", "4", "from 1 to 3"),
        ("clip_id", "c!", "not in the key"),
        ("system", "Human", "not in the key"),
        ("subset", "zero-shot", "in the key"),
        ("rating", "6", "from 1 to 5"),
        ("rating", "3.5", "from 1 to 5"),
        ("rating", "", "from 1 to 5"),
        ("play_count", "0", "of at least 1"),
        ("rt_ms", "-1", "of at least 0"),
        ("timestamp", "today", "not a time"),
    ],
)
def test_bad_cells_are_named(
    built: tuple[Path, dict], tmp_path: Path, column: str, value: str, reason: str
) -> None:
    content = rows(built[1], 2)
    content[1][column] = value
    file = write_rows(tmp_path / "bad.csv", content)
    with pytest.raises(UserError, match=re.escape(f"{file}:3: ") + f".*{reason}"):
        read_ratings([file], built[1])


def test_bad_files_are_named(built: tuple[Path, dict], tmp_path: Path) -> None:
    _, key = built
    good = write_rows(tmp_path / "good.csv", rows(key, 1))
    twice = write_rows(tmp_path / "twice.csv", rows(key, 1))
    with pytest.raises(UserError, match=re.escape(f"{twice}:2: listener 1 rated")):
        read_ratings([good, twice], key)
    for text, reason in (
        ("listener_id,rating\n1,2\n", ":1: no column session_id"),
        (good.read_text() + "1,2\n", ":5: 2 cells, not 10"),
        ("", ":1: no column"),
    ):
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        with pytest.raises(UserError, match=re.escape(f"{bad}{reason}")):
            read_ratings([bad], key)
    for missing in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(UserError, match=re.escape(f"{missing}: cannot be read")):
            read_ratings([missing], key)
    with pytest.raises(UserError, match="no ratings"):
        read_ratings([], key)
    for text in ("{}", "[", "7"):
        (tmp_path / "key.json").write_text(text)
        with pytest.raises(UserError, match="key.json"):
            read_key(tmp_path / "key.json")


def test_the_table_stands_beside_the_papers() -> None:
    ratings = rated(Human=[[5], [4]], FastSAG=[[3], [4]])
    found = summary([replace(rating, subset="in-domain") for rating in ratings])
    text = table(found)
    assert "| Human | 4.50 | 4.00 to 5.00 | 2 | 2 | 4.15 |" in text
    assert "| RandSong | - | - | - | - | 1.48 |" in text
    assert "| FastSAG - Human | -1.00 | 2 |" in text
    both = [replace(r, subset=("in-domain", "zero-shot")[r.listener - 1]) for r in ratings]
    assert "zero-shot:\n\n| system" in table(summary(both, resamples=100))


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = summary(rated(Human=[[5], [4]], ours=[[3], [4]]), resamples=100)
    plot(tmp_path / "scores.png", found)
    assert (tmp_path / "scores.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match="cannot be written"):
        plot(tmp_path / "absent" / "scores.png", found)


# --- the command ---


def test_the_command_makes_and_counts(tmp_path: Path) -> None:
    folders = write_mixtures(tmp_path / "systems", clips=3)
    subset = tmp_path / "subsets.csv"
    subset.write_text("clip,subset\nsong0,in-domain\nsong1,zero-shot\nsong2,in-domain\n")
    named = [f"{name}={folder}" for name, folder in folders.items()]
    page = tmp_path / "test"
    sizes = ["--clips", "3", "--listeners", "3", "--trials", "3", "--subset", str(subset)]
    run = CliRunner().invoke(app, ["listen", "make", *named, "-o", str(page), *sizes])
    assert run.exit_code == 0, run.output
    key_file = tmp_path / "test.key.json"
    key = read_key(key_file)
    files = [str(write_rows(tmp_path / f"{i}.csv", rows(key, i))) for i in (1, 2, 3)]
    output = tmp_path / "scores.json"
    options = ["--key", str(key_file), "-o", str(output)]
    run = CliRunner().invoke(app, ["listen", "results", *files, *options])
    assert run.exit_code == 0, run.output
    found = json.loads(output.read_text())
    assert found["ratings"] == 9 and set(found["subsets"]) == {"in-domain", "zero-shot"}
    assert {row["system"] for row in found["systems"]} == set(NAMES)
    assert "| Human |" in run.output


@pytest.mark.parametrize("systems", [["Human"], ["Human="], ["=x"], ["A=x", "A=y"]])
def test_bad_systems_are_named(tmp_path: Path, systems: list[str]) -> None:
    run = CliRunner().invoke(app, ["listen", "make", *systems, "-o", str(tmp_path / "t")])
    assert isinstance(run.exception, UserError) and systems[-1] in str(run.exception)
