"""The page in a real Chromium: what a singer does, and that no request leaves the machine."""

import io
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile

from fastsag.app.limits import Limits
from fastsag.app.service import Service
from tests.app.conftest import wav
from tests.app.live import running

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium")

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --no-first-run --disable-sync "
    "--disable-component-update --autoplay-policy=no-user-gesture-required "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def service(tiny):
    return Service([str(tiny)], "cpu", Limits(megabytes=5, minutes=0.6))


@pytest.fixture(scope="module")
def address(service):
    with running(service) as where:
        yield where


@pytest.fixture(scope="module")
def chromium():
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, address):
    """Opens the page; afterwards, no request may have gone to another machine."""
    contexts, requests, errors = [], [], []

    def opened(width=1280, **options):
        options["viewport"] = {"width": width, "height": 900}
        context = chromium.new_context(permissions=["microphone"], **options)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#play")
        return page

    yield opened
    for context in contexts:
        context.close()
    outside = [url for url in requests if urlsplit(url).scheme not in ("data", "blob", "about")]
    assert outside and {urlsplit(url).hostname for url in outside} == {"127.0.0.1"}
    assert errors == []


def upload(page, content: bytes, name: str = "my song.wav") -> None:
    file = {"name": name, "mimeType": "audio/wav", "buffer": content}
    arrived = re.compile("/gradio_api/upload(\\?|$)")
    with page.expect_response(arrived):
        page.set_input_files("#voice input[type=file]", files=[file])
    page.locator("#voice").get_by_label("Clear").wait_for()


def play(page) -> None:
    page.get_by_role("button", name="Play the band").click()


def wait_for_player(page) -> None:
    page.wait_for_function("document.querySelector('fastsag-player')?.state.gains")


def state(page) -> dict:
    return page.evaluate("document.querySelector('fastsag-player').state")


def token(page) -> str:
    return page.get_attribute("fastsag-player", "voice").split("/")[1]


def test_a_singer_sings_listens_edits_and_takes_it_home(open_page, service):
    page = open_page()
    upload(page, wav(6.0))
    play(page)
    wait_for_player(page)
    # Voice and band have one length and add up to the mix, sample by sample.
    parts = {}
    for name in ("voice", "accompaniment", "mix"):
        content = page.request.get(f"{page.url}takes/{token(page)}/{name}.flac").body()
        parts[name] = soundfile.read(io.BytesIO(content))[0]
    np.testing.assert_allclose(parts["voice"] + parts["accompaniment"], parts["mix"], atol=1e-6)
    buffers = page.evaluate("document.querySelector('fastsag-player').buffers.map(b => b.length)")
    assert buffers[0] == buffers[1]
    # Listen.
    seconds = len(parts["mix"]) / 22_050
    assert seconds > 6  # the band ends behind the voice
    assert state(page)["duration"] == pytest.approx(seconds, abs=0.01)
    page.locator("fastsag-player .play").click()
    page.wait_for_function("document.querySelector('fastsag-player').state.time > 0.3")
    # The balance acts at once, while it plays.
    page.get_by_role("button", name="Band", exact=True).click()
    page.wait_for_timeout(150)
    now = state(page)
    assert now["playing"] and now["gains"] == pytest.approx([0, 1], abs=0.01)
    page.get_by_label("Balance of voice and band").focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(150)
    assert state(page)["gains"] == pytest.approx([1, 0], abs=0.01)
    # Move within the song, to its end.
    page.get_by_label("Position").focus()
    page.keyboard.press("ArrowRight")
    assert state(page)["time"] > 2
    page.wait_for_function("!document.querySelector('fastsag-player').state.playing")
    # Edit a chord.
    text = page.get_by_label("Edit it")
    edited = re.sub(r"\|[^|]*\|", "| Ebm |", text.input_value(), count=1)
    first = token(page)
    text.fill(edited)
    page.get_by_role("button", name="Play again with these chords").click()
    page.wait_for_function(
        f"!document.querySelector('fastsag-player').outerHTML.includes('{first}')"
    )
    assert page.locator("#sheet .fs-bars li").first.inner_text().split() == ["1", "Ebm"]
    # A sheet that cannot be read says where, and leaves what is there.
    text.fill("| H |")
    page.get_by_role("button", name="Play again with these chords").click()
    page.get_by_role("alert").filter(has_text="'H' is not a chord").wait_for()
    # Take it home.
    expected = round(state(page)["duration"] * 22_050)
    for name in ("wav", "flac", "mp3"):
        with page.expect_download() as download:
            page.get_by_label(f"Download mix as {name}").click()
        assert download.value.suggested_filename == f"my song.take1.mix.{name}"
        info = soundfile.info(io.BytesIO(Path(download.value.path()).read_bytes()))
        assert info.frames == expected or name == "mp3"
    for name, start in (("text", b"# Lead sheet"), ("MIDI", b"MThd")):
        with page.expect_download() as download:
            page.get_by_label(f"Download lead sheet as {name}").click()
        assert Path(download.value.path()).read_bytes().startswith(start)
    # The spectrograms.
    page.get_by_text("Spectrograms").click()
    page.wait_for_function("document.querySelector('#picture img')?.naturalWidth > 500")


def test_takes_are_made_when_asked_for_and_kept(open_page, service):
    page = open_page()
    upload(page, wav(1.0))
    play(page)
    wait_for_player(page)
    first = token(page)
    page.get_by_label("Take 2").check()
    page.wait_for_function(
        f"!document.querySelector('fastsag-player').outerHTML.includes('{first}')"
    )
    second = token(page)
    before = service.shelf.get(second).record["seed"], service.shelf.get(first).record["seed"]
    assert before == (1, 0)
    page.get_by_label("Take 1").check()
    page.wait_for_function(
        f"document.querySelector('fastsag-player').outerHTML.includes('{first}')"
    )
    assert len(service.shelf) == 3  # a voice and two takes: nothing was made again


def test_cancel(open_page, service):
    page = open_page()
    upload(page, wav(30.0))
    page.get_by_role("button", name="Advanced").click()
    # What is typed while the section unfolds can be lost; the slider shows what the page knows.
    typed, known = (
        page.get_by_label(f"{kind} for Steps") for kind in ("number input", "range slider")
    )
    for _ in range(10):
        typed.fill("100")
        typed.press("Tab")
        page.wait_for_timeout(200)
        if known.input_value() == "100":
            break
    assert known.input_value() == "100"
    play(page)
    page.locator("#status progress").wait_for()
    page.get_by_text(re.compile(r"window \d+ of \d+, step \d+ of 100")).wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    assert service.worker.load == (0, 0)
    assert page.get_by_role("button", name="Play the band").is_enabled()


def test_what_cannot_be_used_is_explained(open_page):
    page = open_page()
    play(page)
    page.get_by_role("alert").filter(has_text="Record yourself").wait_for()
    for content, said in [
        (b"garbage" * 99, "my song: not audio that can be read"),
        (wav(40.0), "my song: lasts 0.7 min; cut it into parts of at most 0.6 min"),
    ]:
        upload(page, content)
        play(page)
        page.get_by_role("alert").filter(has_text=said).wait_for()
        page.locator("#voice").get_by_label("Clear").click()
    assert page.locator("fastsag-player").count() == 0


@pytest.mark.slow
def test_the_microphone(open_page):
    """Chromium's own test tone is the singer."""
    page = open_page()
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1_500)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_timeout(1_000)
    play(page)
    wait_for_player(page)
    assert 0.7 < state(page)["duration"] < 6


@pytest.mark.slow
def test_the_demo_voice_by_keyboard_alone(open_page):
    page = open_page()

    def go_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(e => { while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
                " return e.getAttribute('aria-label') || e.innerText })(document.activeElement)"
            )
            if focused.startswith(name):
                return
        raise AssertionError(f"{name} is not reached by Tab")

    go_to("Try it with a demo voice")
    page.keyboard.press("Enter")
    page.get_by_text("0:29").wait_for()
    go_to("Play the band")
    page.keyboard.press("Enter")
    wait_for_player(page)
    go_to("Position")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('fastsag-player').state.time > 0.1")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_fits_the_screen_in_light_and_dark(open_page, width, scheme):
    page = open_page(width, color_scheme=scheme)
    upload(page, wav(1.0))
    play(page)
    wait_for_player(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(part) for part in re.findall(r"\d+", background)[:3]])
    assert brightness > 200 if scheme == "light" else brightness < 60


def test_closing_the_page_removes_what_it_held(open_page, service):
    page = open_page()
    upload(page, wav(1.1), "private.wav")
    play(page)
    wait_for_player(page)
    folder = service.shelf.get(token(page)).folder
    (kept,) = (service.folder / "uploads").rglob("private.wav")
    assert folder.exists() and len(service.shelf) >= 2
    page.close()
    for _ in range(100):
        if not (folder.exists() or kept.exists()):
            return
        time.sleep(0.1)
    raise AssertionError("something is still there")


def test_the_page_gives_no_file_of_the_machine(address, service, tmp_path):
    """Neither by name nor as a voice; the page's own protocol is spoken here without a browser."""
    (tmp_path / "secret.wav").write_bytes(wav())
    token, folder = service.shelf.new()
    (folder / "upload").write_bytes(wav())
    with httpx.Client(base_url=address) as http:
        for path in ("/etc/passwd", tmp_path / "secret.wav", folder / "upload"):
            assert http.get(f"/gradio_api/file={path}").status_code in (403, 404), path
        for name in ("../../etc/passwd", "upload", "..%2f..%2fx", "mix.wav%00"):
            assert http.get(f"/takes/{token}/{name}").status_code == 404, name
        config = http.get("/config").json()
        play = next(item for item in config["dependencies"] if len(item["inputs"]) == 7)
        for path in (tmp_path / "secret.wav", folder / "upload", "http://127.0.0.1:9/a.wav"):
            voice = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
            order = {
                "data": [voice, "Surprise me", "tiny", 0, 0, -3, "auto"],
                "fn_index": play["id"],
                "session_hash": "intruder",
            }
            answer = http.post("/gradio_api/queue/join", json=order)
            assert answer.status_code == 422 and "uploaded first" in answer.text, path
        for path in ("/gradio_api/info", "/gradio_api/proxy=http://a.example/", "/monitoring"):
            assert http.get(path).status_code == 404
    service.shelf.drop(token)
