"""The page's layout: which components there are, and which event of `Page` each calls."""

from __future__ import annotations

import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount

from fastsag.app import view
from fastsag.app.gate import Gate
from fastsag.app.limits import MOST_STEPS
from fastsag.app.page import ANY_STYLE, TAKES, Page
from fastsag.app.service import PRECISIONS, Service
from fastsag.errors import require
from fastsag.lead_sheet import STYLES
from fastsag.pipeline import DEFAULT_LEVEL_DB

_FONTS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def mount(application: FastAPI, service: Service) -> None:
    """Put the page at `/`. Nothing of it comes from another machine."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    uploads = service.folder / "uploads"  # private, and removed
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    gr = require("gradio", extra="app")
    page = Page(service, _bundled(uploads))
    blocks = _build(gr, page)
    blocks.queue(max_size=None, default_concurrency_limit=None)  # the service has the queue
    gr.mount_gradio_app(
        application,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=service.limits.bytes,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=_theme(gr),
        css=view.static("page.css"),
        head=view.head(),
    )
    blocks.has_launched = True  # else gradio does not look where the paths of a mounted page lead
    mounted = application.router.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = Gate(mounted.app, uploads)


def _theme(gr: Any) -> Any:
    """Warm and quiet, in the fonts that the machine has."""
    theme = gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="lg",
        font=_FONTS,
        font_mono=_MONO,
    )
    return theme.set(
        body_background_fill="#fdfcfa",
        body_background_fill_dark="#191614",
        block_background_fill_dark="#221e1b",
        button_primary_background_fill="var(--fs-accent)",
        button_primary_background_fill_dark="var(--fs-accent)",
        button_primary_background_fill_hover="var(--fs-accent-strong)",
        button_primary_background_fill_hover_dark="var(--fs-accent-strong)",
        button_primary_text_color="var(--fs-on-accent)",
        button_primary_text_color_dark="var(--fs-on-accent)",
        block_label_text_color="var(--fs-quiet)",
        block_label_text_color_dark="var(--fs-quiet)",
    )


def _build(gr: Any, page: Page) -> Any:
    with gr.Blocks(title="FastSAG", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.HTML(view.HEADER)
        with gr.Row(elem_classes="fs-columns"):
            with gr.Column(scale=2, min_width=300):
                inputs = _inputs(gr, page)
            with gr.Column(scale=3, min_width=300):
                _results(gr, page)
        with gr.Accordion("Spectrograms", open=False, visible=False) as page.parts["pictures"]:
            page.parts["picture"] = gr.HTML(elem_id="picture")
        gr.HTML(view.FOOTER)
        _wire(gr, page, blocks, inputs)
    return blocks


def _inputs(gr: Any, page: Page) -> list[Any]:
    """The left side: the voice, the button, the settings."""
    service, parts = page.service, page.parts
    config = service.accompanist().config
    voice = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label="Sing, or drop a recording of one voice",
        elem_id="voice",
        buttons=[],
    )
    for path in page.bundled:
        button = gr.Button(f"Try it with a {path.stem.replace('-', ' ')}", size="sm")
        button.click(lambda path=path: str(path), None, voice, **_PRIVATE)
    style = gr.Dropdown(
        [ANY_STYLE, *STYLES], value=ANY_STYLE, label="Style", visible=config.planner is not None
    )
    parts["play"] = gr.Button("Play the band", variant="primary", size="lg", elem_id="play")
    parts["cancel"] = gr.Button("Cancel", visible=False, elem_id="cancel")
    parts["status"] = gr.HTML(visible=False, elem_id="status")
    with gr.Accordion("Advanced", open=False):
        checkpoint = gr.Dropdown(
            service.checkpoints, value=service.checkpoints[0], label="Checkpoint"
        )
        steps = gr.Slider(
            0,
            MOST_STEPS,
            value=0,
            step=1,
            label="Steps",
            info="0 is what the checkpoint likes best; few are quick, many are careful",
        )
        seed = gr.Number(0, label="Seed", info="Same seed, same band", precision=0, minimum=0)
        level = gr.Slider(
            -20, 12, value=DEFAULT_LEVEL_DB, step=0.5, label="Band against voice, in dB"
        )
        precision = gr.Dropdown(PRECISIONS, value=PRECISIONS[0], label="Precision")
    return [voice, style, checkpoint, steps, seed, level, precision]


def _results(gr: Any, page: Page) -> None:
    """The right side: what a newcomer reads, then the takes."""
    parts = page.parts
    parts["empty"] = gr.HTML(view.EMPTY)
    with gr.Column(visible=False, elem_id="result") as parts["result"]:
        parts["takes"] = gr.Radio(
            [(f"Take {take}", take) for take in range(1, TAKES + 1)],
            value=1,
            label="Takes",
            show_label=False,
            elem_id="takes",
        )
        parts["player"] = gr.HTML(elem_id="player")
        gr.HTML('<h2 class="fs-title">Lead sheet</h2>')
        parts["sheet"] = gr.HTML(elem_id="sheet")
        parts["text"] = gr.Textbox(
            lines=8,
            max_lines=24,
            label="Edit it",
            info="Change chords between the bars, the key or the style. A line such as tempo: 90 "
            "makes the beat steady; without one it stays as it was heard.",
            elem_id="sheet-text",
            buttons=[],
        )
        parts["replay"] = gr.Button("Play again with these chords", elem_id="replay")


_PRIVATE: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "concurrency_limit": None,
}


def _wire(gr: Any, page: Page, blocks: Any, inputs: list[Any]) -> None:
    """Events. gradio tells a function's request by the type of its argument, so the wrappers."""
    parts = page.parts
    outputs = list(parts.values())

    async def play(request: gr.Request, *values: Any) -> Any:
        async for update in page.play(request, *values):
            yield update

    async def choose(request: gr.Request, take: int) -> Any:
        async for update in page.choose(request, take):
            yield update

    async def replay(request: gr.Request, text: str) -> Any:
        async for update in page.replay(request, text):
            yield update

    def cancel(request: gr.Request) -> None:
        page.cancel(request)

    def leave(request: gr.Request) -> None:
        page.leave(request.session_hash)

    for function in (play, choose, replay, cancel, leave):
        function.__annotations__["request"] = gr.Request
    parts["play"].click(play, inputs, outputs, **_PRIVATE)
    parts["takes"].input(choose, parts["takes"], outputs, **_PRIVATE)
    parts["replay"].click(replay, parts["text"], outputs, **_PRIVATE)
    parts["cancel"].click(cancel, None, None, **_PRIVATE)
    blocks.unload(leave)


def _bundled(uploads: Path) -> list[Path]:
    """The package's voices, copied to where gradio may give them from."""
    folder = uploads / "bundled"
    folder.mkdir(parents=True)
    assets = Path(str(resources.files("fastsag") / "assets"))
    return [Path(shutil.copy(path, folder)) for path in sorted(assets.glob("*voice*.flac"))]
