"use strict";
// Times and numbers in the reader's language, lyrics that follow the player, and what stays as it was while a part of
// the page is replaced. Without this file, every page still works.
(() => {
  const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const numbers = new Intl.NumberFormat();

  function localize(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.valueOf())) {
        time.title = time.dateTime;
        time.textContent = times.format(at);
      }
    }
    for (const one of root.querySelectorAll("[data-number]")) {
      one.textContent = numbers.format(Number(one.dataset.number));
    }
  }

  const linesOf = (item) => [...item.querySelectorAll(".line")];

  function follow(event) {
    const item = event.target.closest?.(".item");
    if (!item) return;
    const now = event.target.currentTime;
    const sung = linesOf(item).filter((line) => Number(line.dataset.start) <= now).pop();
    const before = item.querySelector(".line[aria-current]");
    if (sung === (before ?? undefined)) return;
    before?.removeAttribute("aria-current");
    if (sung) {
      sung.setAttribute("aria-current", "true");
      const box = sung.closest(".lyrics");
      box.scrollTop = sung.offsetTop - box.clientHeight / 2 + sung.offsetHeight / 2;
    }
  }

  // Media events do not bubble: they are caught on their way down.
  document.addEventListener("timeupdate", follow, true);
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio")) {
      if (other !== event.target) other.pause();
    }
  }, true);

  document.addEventListener("click", (event) => {
    const line = event.target.closest?.(".line");
    if (!line) return;
    const players = [...line.closest(".item").querySelectorAll("audio")];
    const player = players.find((one) => !one.paused) ?? players[0];
    if (!player) return;
    const start = Number(line.dataset.start);
    // A line may begin after the end of the sound.
    if (player.duration <= start) return;
    const seek = () => { player.currentTime = start; };
    if (player.readyState > 0) seek();
    else player.addEventListener("loadedmetadata", seek, { once: true });
    player.play().catch(() => {});
  });

  // Parts settle at once (`defaultSettleDelay`): what somebody opens while they do would be taken for what was before.
  // What was said of a change is over once the task's status is another.
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    if (event.target.id === "status") document.querySelector(".notice")?.remove();
  });

  let opened = new Map();
  let scrolled = new Map();
  document.addEventListener("htmx:beforeSwap", () => {
    // Of the whole document: what is replaced need not lie in the target.
    opened = new Map([...document.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    scrolled = new Map([...document.querySelectorAll(".lyrics")].map((one, index) => [index, one.scrollTop]));
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const [id, open] of opened) {
      const one = document.getElementById(id);
      if (one) one.open = open;
    }
    document.querySelectorAll(".lyrics").forEach((one, index) => {
      if (scrolled.has(index)) one.scrollTop = scrolled.get(index);
    });
    // For this swap alone, whose parts settle one after the other: later ones would find what was so long ago.
    queueMicrotask(() => {
      opened.clear();
      scrolled.clear();
    });
    localize(document);
  });
  localize(document);
})();
