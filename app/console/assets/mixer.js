"use strict";
// Stems that are played together, each with mute and solo: decoded, so that they begin together to the sample. Without
// this file, the browser's own controls play each by itself.
(() => {
  const { Drawing, Seeker, bytesOf, made, peaksOf, showPlaying } = window.players;

  class Mixer {
    constructor(root) {
      this.root = root;
      this.stems = [...root.querySelectorAll(".stem")].map((row) => this.row(row));
      this.context = null;
      this.offset = 0;
      this.startedAt = null;
      this.duration = NaN;
      this.loading = null;
      this.button = made("button", "toggle", { type: "button" });
      this.seeker = new Seeker("Place in all stems", this);
      this.said = made("span", "said", { role: "status" });
      const transport = made("div", "transport");
      transport.append(this.button, this.seeker.root, this.seeker.time, this.said);
      root.prepend(transport);
      root.classList.add("ours");
      root.setAttribute("role", "group");
      root.setAttribute("aria-label", "Stems, played together");
      this.button.addEventListener("click", () => this.toggle());
      document.addEventListener("play", () => this.pause(), true);
      this.mix();
      this.show();
    }

    row(row) {
      const stem = { row, url: row.dataset.src, muted: row.dataset.whole !== undefined, solo: false, buffer: null };
      const switches = made("div", "switches");
      const part = row.querySelector(".part").textContent;
      stem.mute = made("button", "", { type: "button", "aria-label": `Mute ${part}` });
      stem.mute.textContent = "Mute";
      stem.soloed = made("button", "", { type: "button", "aria-label": `Solo ${part}` });
      stem.soloed.textContent = "Solo";
      stem.mute.addEventListener("click", () => { stem.muted = !stem.muted; this.mix(); });
      stem.soloed.addEventListener("click", () => { stem.solo = !stem.solo; this.mix(); });
      switches.append(stem.mute, stem.soloed);
      stem.drawing = new Drawing("wave");
      row.querySelector(".part").after(switches, stem.drawing.canvas);
      return stem;
    }

    get playing() { return this.startedAt !== null; }

    get time() {
      const played = this.playing ? this.context.currentTime - this.startedAt : 0;
      return Math.min(this.offset + Math.max(played, 0), Number.isFinite(this.duration) ? this.duration : Infinity);
    }

    /** Who is heard: the soloed ones where there are any, else all that are not muted. */
    mix() {
      const solo = this.stems.some((stem) => stem.solo);
      for (const stem of this.stems) {
        const heard = solo ? stem.solo : !stem.muted;
        stem.mute.setAttribute("aria-pressed", String(stem.muted && !stem.solo));
        stem.soloed.setAttribute("aria-pressed", String(stem.solo));
        stem.row.classList.toggle("silent", !heard);
        stem.level = heard ? 1 : 0;
        stem.gain?.gain.setTargetAtTime(stem.level, this.context.currentTime, 0.01);
      }
    }

    async load() {
      this.context ??= new AudioContext();
      let count = 0;
      const tell = () => { this.said.textContent = `Loading: ${count} of ${this.stems.length}`; };
      tell();
      await Promise.all(this.stems.map(async (stem) => {
        stem.buffer ??= await this.context.decodeAudioData(await bytesOf(stem.url));
        stem.drawing.peaks = peaksOf(stem.buffer);
        stem.drawing.paint();
        count += 1;
        tell();
      }));
      this.duration = Math.max(...this.stems.map((stem) => stem.buffer.duration));
      this.said.textContent = "";
    }

    async ready() {
      this.loading ??= this.load();
      try {
        await this.loading;
        return true;
      } catch {
        this.loading = null;
        this.said.textContent = "The stems could not be loaded.";
        return false;
      }
    }

    async toggle() {
      if (this.playing) {
        this.pause();
        return;
      }
      for (const audio of document.querySelectorAll("audio")) audio.pause();
      if (!(await this.ready())) return;
      await this.context.resume();
      if (!this.playing) this.start();
    }

    start() {
      if (this.offset >= this.duration) this.offset = 0;
      const at = this.context.currentTime + 0.05;
      for (const stem of this.stems) {
        stem.gain = new GainNode(this.context, { gain: stem.level });
        stem.source = new AudioBufferSourceNode(this.context, { buffer: stem.buffer });
        stem.source.connect(stem.gain).connect(this.context.destination);
        stem.source.start(at, Math.min(this.offset, stem.buffer.duration));
      }
      this.startedAt = at;
      this.follow();
    }

    stop() {
      for (const stem of this.stems) {
        stem.source?.stop();
        stem.source?.disconnect();
        stem.gain?.disconnect();
        stem.source = stem.gain = null;
      }
      this.startedAt = null;
    }

    pause() {
      if (!this.playing) return;
      this.offset = this.time;
      this.stop();
      this.show();
    }

    async seekShare(share) {
      if (await this.ready()) this.seek(share * this.duration);
    }

    seek(seconds) {
      const wasPlaying = this.playing;
      if (wasPlaying) this.stop();
      this.offset = Math.min(Math.max(seconds, 0), Number.isFinite(this.duration) ? this.duration : 0);
      if (wasPlaying) this.start();
      this.show();
    }

    follow() {
      if (!this.playing) return;
      if (!this.root.isConnected) {
        this.stop();
        return;
      }
      if (this.time >= this.duration) {
        this.stop();
        this.offset = 0;
        this.show();
        return;
      }
      this.show();
      requestAnimationFrame(() => this.follow());
    }

    show() {
      showPlaying(this.button, this.playing, "all stems together");
      this.seeker.show();
      const share = this.duration ? this.time / this.duration : 0;
      for (const stem of this.stems) {
        if (!stem.buffer || Math.abs(stem.drawing.share - share) < 0.002) continue;
        stem.drawing.share = share;
        stem.drawing.paint();
      }
    }
  }

  function look() {
    for (const mixer of document.querySelectorAll(".mixer:not(.ours)")) mixer.mixer = new Mixer(mixer);
  }
  document.addEventListener("htmx:afterSettle", look);
  look();
})();
