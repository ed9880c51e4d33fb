"""What the page shows, as HTML. Everything that comes from outside is escaped here."""

from __future__ import annotations

import json
from html import escape
from importlib import resources

from fastsag.app.jobs import Progress
from fastsag.app.results import MIDI, PICTURE, SHEET, Result
from fastsag.chords import written
from fastsag.lead_sheet import LeadSheet

_STAGES = {
    "listening": ("Listening to the voice", 0.02, 0.10),
    "playing": ("The band plays", 0.10, 0.88),
    "sounding": ("Turning it into sound", 0.88, 0.96),
    "writing": ("Writing files", 0.96, 1.0),
}
"""By stage of the pipeline: what a singer is told, and which part of the bar it fills."""

HEADER = """
<header class="fs-head">
  <svg viewBox="0 0 40 40" aria-hidden="true"><rect width="40" height="40" rx="11"/>
    <path d="M9 17v6M15 11v18"/><path class="band" d="M21 15v10M26 9v22M31 16v8"/></svg>
  <div><h1>FastSAG</h1><p>You sing. A band comes in.</p></div>
</header>"""
FOOTER = """
<footer class="fs-foot">Everything happens on the machine that serves this page. Recordings are
removed when you close it. Programs use the <a href="openapi.json">HTTP API</a>.</footer>"""
EMPTY = """
<section class="fs-empty" aria-label="How it works"><ol>
  <li><b>Sing</b><span>Record yourself, or drop a recording of one voice.</span></li>
  <li><b>Press the button</b><span>The band listens for key, beat and chords.</span></li>
  <li><b>Make it yours</b><span>Balance it, change chords, take another take.</span></li>
</ol></section>"""


def static(name: str) -> str:
    """A text file of the page."""
    return (resources.files("fastsag.app") / "static" / name).read_text(encoding="utf-8")


def head() -> str:
    """What goes into the page's head: the player, and how a page on a phone looks."""
    return (
        '<meta name="color-scheme" content="light dark">'
        f"<script type='module'>{static('player.js')}</script>"
    )


def progress(now: Progress, steps: int) -> str:
    """The bar and what happens; `steps` is how many a window has."""
    if now.stage == "waiting":
        others = "one job is" if now.ahead == 1 else f"{now.ahead} jobs are"
        said = f"Waiting: {others} before yours" if now.ahead else "Waiting"
        return _bar(said, None)
    said, start, stop = _STAGES.get(now.stage, (now.stage.capitalize(), 0.0, 1.0))
    share = now.done / now.total if now.total else 0.0
    if now.stage == "playing" and now.total and now.total % steps == 0:
        window = min(now.done // steps + 1, now.total // steps)
        step = now.done - (window - 1) * steps
        said += f": window {window} of {now.total // steps}, step {step} of {steps}"
    return _bar(said, start + share * (stop - start))


def _bar(said: str, share: float | None) -> str:
    value = "" if share is None else f' value="{share:.3f}"'
    return (
        f'<div class="fs-progress"><span>{escape(said)} …</span>'
        f'<progress max="1"{value} aria-label="{escape(said)}"></progress></div>'
    )


def message(text: str, wrong: bool = False) -> str:
    """One sentence for the person at the page."""
    role = "alert" if wrong else "status"
    kind = " fs-wrong" if wrong else ""
    return f'<p class="fs-message{kind}" role="{role}">{escape(text)}</p>'


def player(token: str, result: Result, song: str) -> str:
    """The player of a take and its downloads."""
    sheet = result.sheet
    chords = [(round(time, 3), chord) for time, chord in sheet.written_chords()] if sheet else []
    base = f"takes/{token}"
    return (
        f'<fastsag-player voice="{base}/voice.flac" band="{base}/accompaniment.flac" '
        f'chords="{escape(json.dumps(chords))}"></fastsag-player>'
        f"{_downloads(base, song, sheet is not None)}"
    )


def _downloads(base: str, song: str, with_sheet: bool) -> str:
    rows = [
        (title, [(kind, f"{part}.{kind}") for kind in ("wav", "flac", "mp3")])
        for title, part in (("Mix", "mix"), ("Band alone", "accompaniment"))
    ]
    if with_sheet:
        rows.append(("Lead sheet", [("text", SHEET), ("MIDI", MIDI)]))
    groups = "".join(
        f"<li><span>{title}</span>{''.join(_link(base, song, title, *link) for link in links)}</li>"
        for title, links in rows
    )
    return f'<nav class="fs-downloads" aria-label="Downloads"><ul>{groups}</ul></nav>'


def _link(base: str, song: str, title: str, label: str, name: str) -> str:
    return (
        f'<a href="{base}/{name}" download="{escape(f"{song}.{name}")}" '
        f'aria-label="Download {title.lower()} as {label}">{label}</a>'
    )


def picture(token: str) -> str:
    """The spectrograms of a take."""
    return (
        f'<figure class="fs-picture" tabindex="0"><img src="takes/{token}/{PICTURE}" '
        'alt="Mel spectrograms of the voice, of the rough prior and of the accompaniment">'
        "<figcaption>What the model heard (voice), its first sketch (prior) and what it played. "
        "Beats are ticked along the bottom, chords stand on top.</figcaption></figure>"
    )


def lead_sheet(sheet: LeadSheet | None) -> str:
    """Key, tempo and chords by bar."""
    if sheet is None:
        return message("This checkpoint plays without a lead sheet.")
    facts = [sheet.key, f"{sheet.tempo:.0f} BPM", f"{sheet.beats_per_bar}/4"]
    facts += [sheet.style] if sheet.style else []
    facts += [f"singer {sheet.tuning:+.0f} cents"] if sheet.tuning else []
    chips = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    bars = "".join(
        f'<li><span class="fs-number">{number}</span>'
        f"{' '.join(f'<b>{escape(written(label, sheet.key))}</b>' for label in entry.split())}</li>"
        for number, entry in enumerate(sheet.chords[1:], 1)
    )
    return (
        f'<div class="fs-sheet"><ul class="fs-facts" aria-label="Song">{chips}</ul>'
        f'<ol class="fs-bars" aria-label="Chords by bar">{bars}</ol></div>'
    )
