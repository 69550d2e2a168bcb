"use strict";
// Upload a file that is dropped on a field or chosen for it at once, show how far it is, and put the reference to it into
// the field. Without this file, a chosen file is sent with the form.
(() => {
  const TAKEN = /\.(mp3|wav|wave|flac)$/i;
  const size = (bytes) => {
    const [amount, unit, digits] = bytes < 1e6 ? [bytes / 1e3, "KB", 0] : [bytes / 1e6, "MB", 1];
    return `${amount.toLocaleString(undefined, { maximumFractionDigits: digits })} ${unit}`;
  };
  const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

  function why(call) {
    try {
      return JSON.parse(call.responseText).detail;
    } catch {
      return call.status ? `the gateway answered ${call.status}` : "the connection was lost";
    }
  }

  function serve(zone) {
    const field = zone.querySelector("input[type=text]");
    const file = zone.querySelector("input[type=file]");
    const sending = zone.querySelector(".sending");
    const bar = zone.querySelector("progress");
    const state = zone.querySelector(".state");
    const submit = zone.closest("form").querySelector("#do-submit");
    let call = null;

    function say(text, kind) {
      state.textContent = text;
      state.className = `state ${kind}`;
      file.toggleAttribute("aria-invalid", kind === "fault");
    }

    function end() {
      call = null;
      sending.hidden = true;
      submit.disabled = false;
    }

    function done(chosen) {
      field.value = JSON.parse(call.responseText).url;
      field.dispatchEvent(new Event("input"));
      const other = zone.dataset.set && document.getElementById(zone.dataset.set);
      if (other && !other.value) other.value = zone.dataset.to;
      say(`${chosen.name} is uploaded (${size(chosen.size)}). It is kept for a day, and as long as a task needs it.`, "done");
    }

    function send(chosen) {
      call?.abort();
      const isKnown = TAKEN.test(chosen.name);
      if (!isKnown && !chosen.type.startsWith("audio/")) return say(`${chosen.name} is not mp3, WAV or FLAC.`, "fault");
      if (chosen.size > Number(zone.dataset.mostBytes)) {
        return say(`${chosen.name} has ${size(chosen.size)}; ${size(Number(zone.dataset.mostBytes))} is the most.`, "fault");
      }
      const mine = (call = new XMLHttpRequest());
      bar.value = 0;
      sending.hidden = false;
      submit.disabled = true;
      say(`Uploading ${chosen.name} …`, "");
      mine.open("POST", `${zone.dataset.url}?filename=${encodeURIComponent(chosen.name.slice(-200))}`);
      mine.setRequestHeader(zone.dataset.csrfHeader, zone.dataset.csrf);
      mine.setRequestHeader("Content-Type", isKnown ? "application/octet-stream" : chosen.type);
      mine.upload.addEventListener("progress", (event) => { bar.value = (100 * event.loaded) / event.total; });
      mine.addEventListener("abort", () => { if (call === mine) { say("Stopped.", ""); end(); } });
      mine.addEventListener("loadend", () => {
        if (call !== mine) return;
        if (mine.status === 201) done(chosen);
        else say(`Not uploaded: ${why(mine)}.`, "fault");
        end();
      });
      mine.send(chosen);
      return undefined;
    }

    zone.classList.add("ready");
    // It is uploaded before the form is sent, and not sent with it a second time.
    file.removeAttribute("name");
    field.addEventListener("input", () => say("", ""));
    file.addEventListener("change", () => { if (file.files[0]) send(file.files[0]); });
    sending.querySelector("button").addEventListener("click", () => call?.abort());
    for (const name of ["dragenter", "dragover"]) {
      zone.addEventListener(name, (event) => {
        if (!holdsFile(event)) return;
        event.preventDefault();
        zone.classList.add("over");
      });
    }
    zone.addEventListener("dragleave", (event) => {
      if (!zone.contains(event.relatedTarget)) zone.classList.remove("over");
    });
    zone.addEventListener("drop", (event) => {
      zone.classList.remove("over");
      if (!holdsFile(event)) return;
      event.preventDefault();
      send(event.dataTransfer.files[0]);
    });
  }

  document.querySelectorAll(".drop").forEach(serve);
  // A work that is chosen from the list fills its field, so that one sees what is sent and can change it.
  for (const works of document.querySelectorAll(".works")) {
    const field = document.getElementById(works.name.slice("chosen.".length));
    works.addEventListener("change", () => {
      field.value = works.value;
      field.dispatchEvent(new Event("input"));
    });
    field.addEventListener("input", () => { if (field.value !== works.value) works.value = ""; });
  }
  for (const field of document.querySelectorAll("[data-required]")) field.required = true;
  // A file that is dropped beside a field would otherwise replace the page, and with it what was filled in.
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => { if (holdsFile(event)) event.preventDefault(); });
  }
})();
