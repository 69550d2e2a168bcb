"use strict";
// Players with a waveform, and the player of the list. Without this file, the browser's own controls play each sound.
(() => {
  const BARS = 220;
  const STEP_S = 5;
  const PAGE_S = 30;
  const clock = (seconds) => {
    const whole = Math.max(Math.floor(Number.isFinite(seconds) ? seconds : 0), 0);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };

  function made(tag, className, attributes = {}) {
    const one = document.createElement(tag);
    one.className = className;
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    return one;
  }

  // ---- Waveforms

  function peaksOf(buffer) {
    const peaks = new Float32Array(BARS);
    const samples = buffer.getChannelData(0);
    const size = Math.max(Math.floor(samples.length / BARS), 1);
    for (let bar = 0; bar < BARS; bar += 1) {
      let peak = 0;
      const end = Math.min((bar + 1) * size, samples.length);
      for (let at = bar * size; at < end; at += 1) peak = Math.max(peak, Math.abs(samples[at]));
      peaks[bar] = peak;
    }
    const highest = Math.max(...peaks, 0.01);
    return peaks.map((peak) => peak / highest);
  }

  async function bytesOf(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the file was answered with ${answer.status}`);
    return answer.arrayBuffer();
  }

  async function drawnOf(url) {
    // A low rate: a waveform needs little of the sound, and a decoded song takes much memory.
    const buffer = await new OfflineAudioContext(1, 1, 8000).decodeAudioData(await bytesOf(url));
    return { peaks: peaksOf(buffer), duration: buffer.duration };
  }

  /** Draw a waveform, or a plain bar where there are no peaks; what was played already in the accent's colour. */
  function draw(canvas, peaks, share) {
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const colours = [style.getPropertyValue("--accent"), style.getPropertyValue("--soft")];
    if (!peaks) {
      const middle = height / 2;
      const bar = (end, colour, alpha) => {
        pen.globalAlpha = alpha;
        pen.fillStyle = colour;
        pen.beginPath();
        pen.roundRect(0, middle - 3, Math.max(end, 0), 6, 3);
        pen.fill();
      };
      bar(width, colours[1], 0.35);
      bar(width * share, colours[0], 1);
      return;
    }
    const count = Math.min(peaks.length, Math.floor(width / 3));
    const step = width / count;
    for (let bar = 0; bar < count; bar += 1) {
      const from = Math.floor((bar * peaks.length) / count);
      const peak = Math.max(...peaks.slice(from, Math.max(Math.floor(((bar + 1) * peaks.length) / count), from + 1)));
      const size = Math.max(peak * (height - 2), 2);
      const played = (bar + 0.5) / count <= share;
      pen.globalAlpha = played ? 1 : 0.45;
      pen.fillStyle = colours[played ? 0 : 1];
      pen.beginPath();
      pen.roundRect(bar * step + step * 0.15, (height - size) / 2, step * 0.7, size, 2);
      pen.fill();
    }
  }

  const drawings = new Set();
  const redraw = () => {
    for (const one of drawings) {
      if (one.canvas.isConnected) one.paint();
      else drawings.delete(one);
    }
  };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("resize", redraw);

  class Drawing {
    constructor(className) {
      this.canvas = made("canvas", className, { "aria-hidden": "true" });
      this.peaks = null;
      this.share = 0;
      drawings.add(this);
      requestAnimationFrame(() => this.paint());
    }

    paint() {
      draw(this.canvas, this.peaks, this.share);
    }
  }

  // ---- A slider for the place in a sound, by pointer and by keys

  class Seeker {
    /** `sound`: has `time`, `duration` (NaN while not known), `seek(share or seconds)`, `toggle()`. */
    constructor(label, sound) {
      this.sound = sound;
      this.drawing = new Drawing("");
      this.time = made("span", "time");
      this.root = made("div", "seek", { role: "slider", tabindex: "0", "aria-label": label, "aria-valuemin": "0" });
      this.root.append(this.drawing.canvas);
      this.root.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        this.root.setPointerCapture(event.pointerId);
        this.point(event);
      });
      this.root.addEventListener("pointermove", (event) => {
        if (this.root.hasPointerCapture(event.pointerId)) this.point(event);
      });
      this.root.addEventListener("keydown", (event) => this.key(event));
      this.show();
    }

    point(event) {
      const box = this.root.getBoundingClientRect();
      this.sound.seekShare(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
    }

    key(event) {
      const { time, duration } = this.sound;
      const places = {
        ArrowRight: time + STEP_S,
        ArrowUp: time + STEP_S,
        ArrowLeft: time - STEP_S,
        ArrowDown: time - STEP_S,
        PageUp: time + PAGE_S,
        PageDown: time - PAGE_S,
        Home: 0,
        End: Number.isFinite(duration) ? duration - 0.1 : time,
      };
      if (event.key === " " || event.key === "Enter") this.sound.toggle();
      else if (event.key in places) this.sound.seek(Math.max(places[event.key], 0));
      else return;
      event.preventDefault();
    }

    show() {
      const { time, duration } = this.sound;
      const known = Number.isFinite(duration) && duration > 0;
      const words = known ? `${clock(time)} / ${clock(duration)}` : clock(time);
      this.root.setAttribute("aria-valuemax", known ? Math.round(duration) : 0);
      this.root.setAttribute("aria-valuenow", Math.round(time));
      this.root.setAttribute("aria-valuetext", words.replace("/", "of"));
      this.time.textContent = words;
      this.drawing.share = known ? Math.min(time / duration, 1) : 0;
      this.drawing.paint();
    }
  }

  function showPlaying(button, playing, label) {
    button.classList.toggle("playing", playing);
    button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${label}`);
  }

  // ---- One sound, played by an audio element

  class Sound {
    constructor(audio) {
      this.audio = audio;
      this.drawnDuration = NaN;
      this.wanted = null;
      audio.addEventListener("loadedmetadata", () => {
        if (this.wanted !== null) audio.currentTime = this.wanted(audio.duration);
        this.wanted = null;
      });
    }

    get time() { return this.audio.currentTime; }
    get duration() { return Number.isFinite(this.audio.duration) ? this.audio.duration : this.drawnDuration; }

    toggle() {
      if (this.audio.paused) this.audio.play().catch(() => {});
      else this.audio.pause();
    }

    seek(seconds) { this.place(() => seconds); }
    seekShare(share) { this.place((duration) => (Number.isFinite(duration) ? duration * share : 0)); }

    place(wanted) {
      if (this.audio.readyState > 0) {
        this.audio.currentTime = wanted(this.audio.duration);
      } else {
        this.wanted = wanted;
        this.audio.preload = "metadata";
        this.audio.load();
      }
    }
  }

  function control(audio, label, button) {
    const sound = new Sound(audio);
    const seeker = new Seeker(`Place in ${label}`, sound);
    const show = () => {
      showPlaying(button, !audio.paused, label);
      seeker.show();
    };
    for (const name of ["play", "pause", "ended", "timeupdate", "seeking", "seeked", "loadedmetadata", "durationchange"]) {
      audio.addEventListener(name, show);
    }
    button.addEventListener("click", () => sound.toggle());
    show();
    return { sound, seeker };
  }

  async function drawInto({ sound, seeker }, url) {
    try {
      const { peaks, duration } = await drawnOf(url);
      seeker.drawing.peaks = peaks;
      sound.drawnDuration = duration;
      seeker.show();
    } catch {
      // What cannot be decoded keeps its plain bar.
    }
  }

  function enhance(player, first) {
    const audio = player.querySelector("audio");
    if (player.classList.contains("ours")) return;
    const button = made("button", "toggle", { type: "button" });
    const parts = control(audio, player.dataset.label, button);
    audio.controls = false;
    player.classList.add("ours");
    player.prepend(button);
    player.append(parts.seeker.root, parts.seeker.time);
    const wave = () => {
      if (player.parentElement?.dataset.drawn !== undefined) drawInto(parts, audio.src);
    };
    if (first) wave();
    else audio.addEventListener("play", wave, { once: true });
  }

  // ---- The list: one player for all of it

  const shelf = document.getElementById("now-playing");
  let shelved = null;

  function playOnShelf(button) {
    if (shelved?.button === button) {
      shelved.sound.toggle();
      return;
    }
    shelved?.audio.pause();
    shelved?.audio.removeAttribute("src");
    const { src, title, page, drawn } = button.dataset;
    const audio = made("audio", "", { preload: "none" });
    const toggle = made("button", "toggle", { type: "button" });
    const link = made("a", "title given", { href: page });
    link.textContent = title;
    audio.src = src;
    const parts = control(audio, title, toggle);
    for (const name of ["play", "pause", "ended"]) {
      audio.addEventListener(name, () => showPlaying(button, !audio.paused, title));
    }
    const failed = made("span", "said", { role: "status" });
    audio.addEventListener("error", () => { failed.textContent = "It cannot be played now."; });
    shelf.replaceChildren(toggle, link, parts.seeker.root, parts.seeker.time, failed, audio);
    shelf.hidden = false;
    shelved = { button, audio, sound: parts.sound };
    parts.seeker.show();
    audio.play().catch(() => {});
    if (drawn !== undefined) drawInto(parts, src);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".play[data-src]");
    if (button) playOnShelf(button);
  });

  // ---- What the page has, at first and after each part that was replaced

  function look() {
    for (const button of document.querySelectorAll(".play[hidden]")) button.hidden = false;
    for (const item of document.querySelectorAll(".item")) {
      item.querySelectorAll(".player").forEach((player, index) => enhance(player, index === 0));
    }
    redraw();
  }

  // A browser without moveBefore() pauses a player that is kept while the part around it is replaced.
  let playing = [];
  document.addEventListener("htmx:beforeSwap", () => {
    playing = [...document.querySelectorAll("audio")].filter((audio) => !audio.paused);
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const audio of playing) {
      if (audio.isConnected && audio.paused && !audio.ended) audio.play().catch(() => {});
    }
    playing = [];
    look();
  });
  look();

  /** What `mixer.js` is made of, too. */
  window.players = { Drawing, Seeker, bytesOf, made, peaksOf, showPlaying };
})();
