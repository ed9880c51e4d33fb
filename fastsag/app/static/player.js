// <fastsag-player voice="url" band="url" chords="[[seconds, label], ...]">
//
// Two buffers started at one time of one audio clock, so that voice and band stay together to the
// sample; the balance is two gains. Without dependencies; its colours are the page's variables.

const TEMPLATE = `
<style>
  :host { display: block; font: inherit; color: var(--body-text-color); }
  .wave { position: relative; border-radius: 14px; overflow: hidden;
          background: var(--fs-panel); border: 1px solid var(--fs-line); }
  .wave:focus-within { outline: 3px solid var(--fs-focus); outline-offset: 2px; }
  canvas { display: block; width: 100%; height: 190px; }
  .seek { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
          cursor: pointer; touch-action: pan-y; }
  .row { display: flex; flex-wrap: wrap; align-items: center; gap: 12px 20px; margin-top: 14px; }
  button { font: inherit; color: inherit; cursor: pointer; border: 0; background: none; }
  button:focus-visible, .balance input:focus-visible {
    outline: 3px solid var(--fs-focus); outline-offset: 2px; }
  button:disabled { cursor: default; opacity: .45; }
  .play { width: 56px; height: 56px; border-radius: 50%; background: var(--fs-accent);
          color: var(--fs-on-accent); display: grid; place-items: center; flex: none; }
  .play:hover:enabled { background: var(--fs-accent-strong); }
  .play svg { width: 24px; height: 24px; fill: currentColor; }
  .clock { font-variant-numeric: tabular-nums; min-width: 6.5em; color: var(--fs-quiet); }
  .balance { flex: 1 1 240px; display: grid; grid-template-columns: 1fr auto 1fr; row-gap: 4px;
             align-items: center; }
  .balance input { grid-column: 1 / -1; width: 100%; height: 28px; margin: 0; cursor: pointer;
                   appearance: none; background: none; border-radius: 8px; }
  .balance button { padding: 6px 8px; border-radius: 8px; min-height: 32px;
                    color: var(--fs-quiet); }
  .balance button:first-of-type { justify-self: start; }
  .balance button:last-of-type { justify-self: end; }
  .balance button:hover { background: var(--fs-panel); }
  .balance button[aria-pressed=true] { color: var(--body-text-color); font-weight: 650; }
  .v span { color: var(--fs-voice); }
  .b span { color: var(--fs-band); }
  input::-webkit-slider-runnable-track { height: 8px; border-radius: 4px;
    background: linear-gradient(90deg, var(--fs-voice), var(--fs-line) 50%, var(--fs-band)); }
  input::-moz-range-track { height: 8px; border-radius: 4px;
    background: linear-gradient(90deg, var(--fs-voice), var(--fs-line) 50%, var(--fs-band)); }
  input::-webkit-slider-thumb { appearance: none; width: 24px; height: 24px; margin-top: -8px;
    border-radius: 50%; background: var(--fs-knob); border: 3px solid var(--body-text-color); }
  input::-moz-range-thumb { width: 18px; height: 18px; border-radius: 50%;
    background: var(--fs-knob); border: 3px solid var(--body-text-color); }
  .seek::-webkit-slider-thumb { width: 2px; }
  .note { margin: 10px 0 0; color: var(--fs-wrong); }
  .note:empty { display: none; }
</style>
<div class="wave"><canvas aria-hidden="true"></canvas>
  <input class="seek" type="range" min="0" max="1" step="0.01" value="0" aria-label="Position"></div>
<div class="row">
  <button class="play" type="button" aria-label="Play" disabled><svg viewBox="0 0 24 24"
    aria-hidden="true"><path d="M7 4v16l13-8z"/></svg></button>
  <span class="clock">0:00 / 0:00</span>
  <div class="balance" role="group" aria-label="Balance">
    <button type="button" class="v" data-to="-1"><span aria-hidden="true">● </span>Voice</button>
    <button type="button" class="m" data-to="0">Mix</button>
    <button type="button" class="b" data-to="1">Band<span aria-hidden="true"> ●</span></button>
    <input class="fader" type="range" min="-1" max="1" step="0.05" value="0"
      aria-label="Balance of voice and band">
  </div>
</div>
<p class="note" role="alert"></p>`;

const PLAY = "M7 4v16l13-8z";
const PAUSE = "M6 4h4v16H6zM14 4h4v16h-4z";
const GLIDE_SECONDS = 0.015; // of the gains, too short to hear, long enough not to click

const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

class Player extends HTMLElement {
  connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.innerHTML = TEMPLATE;
    for (const name of ["canvas", "seek", "play", "clock", "fader", "note"]) {
      this[`$${name}`] = root.querySelector(name === "canvas" ? name : `.${name}`);
    }
    this.$buttons = [...root.querySelectorAll("[data-to]")];
    this.chords = JSON.parse(this.getAttribute("chords") || "[]");
    this.offset = 0;
    this.sources = null;
    this.$play.onclick = () => (this.sources ? this.pause() : this.play());
    this.$seek.oninput = () => this.seek(Number(this.$seek.value));
    this.$seek.onkeydown = (event) => this.onKey(event);
    this.$fader.oninput = () => this.setBalance(Number(this.$fader.value));
    for (const button of this.$buttons) {
      button.onclick = () => this.setBalance(Number(button.dataset.to));
    }
    this.watchers = [new ResizeObserver(() => this.draw()), new MutationObserver(() => this.draw())];
    this.watchers[0].observe(this.$canvas);
    this.watchers[1].observe(document.body, { attributes: true, attributeFilter: ["class"] });
    this.load();
  }

  disconnectedCallback() {
    this.pause();
    this.watchers?.forEach((watcher) => watcher.disconnect());
    this.context?.close();
    this.context = null;
  }

  async load() {
    const context = (this.context = new AudioContext());
    try {
      const fetched = ["voice", "band"].map(async (name) => {
        const answer = await fetch(this.getAttribute(name));
        if (!answer.ok) throw new Error(`the ${name} is no longer there (${answer.status})`);
        return context.decodeAudioData(await answer.arrayBuffer());
      });
      this.buffers = await Promise.all(fetched);
    } catch (error) {
      this.$note.textContent = `Cannot play: ${error.message}. Press the button again.`;
      return;
    }
    if (this.context !== context) return; // taken away meanwhile
    this.gains = this.buffers.map(() => new GainNode(context));
    this.gains.forEach((gain) => gain.connect(context.destination));
    this.duration = Math.max(...this.buffers.map((buffer) => buffer.duration));
    this.$seek.max = this.duration;
    this.$play.disabled = false;
    this.peaks = null;
    this.setBalance(0);
    this.tick();
    // On a phone the player comes in below what is seen.
    if (this.getBoundingClientRect().top > innerHeight) this.scrollIntoView({ block: "center" });
  }

  async play() {
    await this.context.resume();
    if (this.sources || !this.buffers) return;
    if (this.offset >= this.duration - 0.02) this.offset = 0;
    this.began = this.context.currentTime + 0.03; // one time for both, not yet past
    this.sources = this.buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.gains[index]);
      source.start(this.began, this.offset);
      return source;
    });
    this.show(true);
    this.frame = requestAnimationFrame(() => this.tick());
  }

  pause() {
    if (!this.sources) return;
    this.offset = this.time;
    this.sources.forEach((source) => source.stop());
    this.sources = null;
    cancelAnimationFrame(this.frame);
    this.show(false);
    this.tick();
  }

  seek(seconds) {
    const playing = this.sources !== null;
    this.pause();
    this.offset = Math.min(Math.max(seconds, 0), this.duration);
    if (playing) this.play();
    else this.tick();
  }

  onKey(event) {
    if (event.key === " ") this.$play.click();
    else if (event.key === "ArrowRight" || event.key === "ArrowUp") this.seek(this.time + 2);
    else if (event.key === "ArrowLeft" || event.key === "ArrowDown") this.seek(this.time - 2);
    else return;
    event.preventDefault();
  }

  setBalance(balance) {
    this.balance = balance;
    this.levels = [Math.min(1, 1 - balance), Math.min(1, 1 + balance)];
    this.gains?.forEach((gain, index) =>
      gain.gain.setTargetAtTime(this.levels[index], this.context.currentTime, GLIDE_SECONDS));
    this.$fader.value = balance;
    const said = balance === 0 ? "as mixed"
      : `${balance < 0 ? "band" : "voice"} at ${Math.round(100 * Math.min(...this.levels))} percent`;
    this.$fader.setAttribute("aria-valuetext", said);
    for (const button of this.$buttons) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.to) === balance));
    }
    this.draw();
  }

  get time() {
    if (!this.sources) return this.offset;
    const since = Math.max(0, this.context.currentTime - this.began);
    return Math.min(this.offset + since, this.duration);
  }

  // What is heard now, for tests and the curious.
  get state() {
    return { playing: this.sources !== null, time: this.time, duration: this.duration,
             gains: this.gains?.map((gain) => gain.gain.value) };
  }

  show(playing) {
    this.$play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.$play.querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
  }

  tick() {
    const time = this.time;
    this.$seek.value = time;
    const said = `${clock(time)} / ${clock(this.duration)}`;
    this.$clock.textContent = said;
    this.$seek.setAttribute("aria-valuetext", said.replace("/", "of"));
    this.draw();
    if (!this.sources) return;
    if (time >= this.duration) this.pause();
    else this.frame = requestAnimationFrame(() => this.tick());
  }

  draw() {
    const canvas = this.$canvas, scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !this.buffers) return;
    if (canvas.width !== Math.round(width * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      this.peaks = null;
    }
    this.peaks ??= this.measure(Math.floor(width / 3));
    const style = getComputedStyle(this);
    const colour = (name) => style.getPropertyValue(name).trim() || "#888";
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const top = this.chords.length ? 34 : 6;
    this.drawChords(pen, width, height, colour, style.fontFamily);
    const lane = (height - top - 6) / 2;
    ["--fs-voice", "--fs-band"].forEach((name, index) =>
      this.drawLane(pen, index, colour(name), top + lane * (index + 0.5), lane / 2 - 4, width));
    const now = (this.time / this.duration) * width;
    pen.fillStyle = colour("--body-text-color");
    pen.fillRect(Math.min(Math.max(now - 1, 0), width - 2), 0, 2, height);
  }

  drawLane(pen, index, colour, middle, reach, width) {
    const peaks = this.peaks[index], step = width / peaks.length;
    const played = (this.time / this.duration) * peaks.length;
    pen.fillStyle = colour;
    for (let bin = 0; bin < peaks.length; bin++) {
      const size = Math.max(1, peaks[bin] * reach);
      pen.globalAlpha = (0.25 + 0.75 * this.levels[index]) * (bin < played ? 1 : 0.45);
      pen.fillRect(bin * step, middle - size, Math.max(1, step - 1), 2 * size);
    }
    pen.globalAlpha = 1;
  }

  drawChords(pen, width, height, colour, family) {
    let free = -1;
    pen.textBaseline = "middle";
    this.chords.forEach(([start, label], index) => {
      const next = this.chords[index + 1]?.[0] ?? this.duration;
      const x = (start / this.duration) * width, stop = (next / this.duration) * width;
      const sounding = this.time >= start && this.time < next;
      pen.font = `${sounding ? 700 : 500} 13px ${family}`;
      if (sounding) {
        pen.fillStyle = colour("--fs-lit");
        pen.fillRect(x, 0, stop - x, height);
      }
      pen.fillStyle = colour("--fs-line");
      pen.fillRect(x, 0, 1, height);
      const size = pen.measureText(label).width;
      if (x + 6 < free || x + 6 + size > width) return;
      pen.fillStyle = colour(sounding ? "--body-text-color" : "--fs-quiet");
      pen.fillText(label, x + 6, 17);
      free = x + size + 14;
    });
  }

  measure(bins) {
    const peaks = this.buffers.map((buffer) => this.peaksOf(buffer, bins));
    const loudest = Math.max(...peaks.flat(), 1e-4);
    return peaks.map((lane) => lane.map((peak) => peak / loudest));
  }

  peaksOf(buffer, bins) {
    const samples = buffer.getChannelData(0), peaks = new Array(bins).fill(0);
    const stride = Math.max(1, Math.floor(samples.length / bins / 400));
    for (let index = 0; index < samples.length; index += stride) {
      const bin = Math.min(bins - 1, Math.floor((index / samples.length) * bins));
      peaks[bin] = Math.max(peaks[bin], Math.abs(samples[index]));
    }
    return peaks;
  }
}

customElements.define("fastsag-player", Player);
