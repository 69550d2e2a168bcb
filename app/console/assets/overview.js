"use strict";
// The overview follows by server-sent events for as long as somebody looks at it: a browser has few connections to a
// server, and a page in the background needs none. Clock times of the plots are
// shown in the reader's zone, and large numbers with the separators of the reader's language.
(() => {
  const AGAIN_MS = 10000;
  const overview = document.getElementById("overview");
  const sign = document.getElementById("live");
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" })
    .formatToParts(new Date()).find((part) => part.type === "timeZoneName")?.value;
  const numbers = new Intl.NumberFormat();
  const inOwnDigits = (text) => text.replace(/\d{1,3}(?:\u202f\d{3})+/g, (found) => numbers.format(Number(found.replaceAll("\u202f", ""))));
  let source, again;

  function localize(root) {
    for (const one of root.querySelectorAll("[data-clock]")) {
      const at = new Date(one.dataset.clock);
      if (one.tagName === "title") {
        const end = new Date(at.valueOf() + 1000 * one.closest("svg").dataset.interval);
        one.textContent = `${clock.format(at)} – ${clock.format(end)}${inOwnDigits(one.textContent.slice(one.textContent.indexOf(": ")))}`;
      } else {
        one.textContent = clock.format(at);
      }
    }
    for (const one of root.querySelectorAll(".lead strong, .legend li:not(:has(a)), .legend a, .plot .label:not([data-clock]), .plot td")) {
      one.textContent = inOwnDigits(one.textContent);
    }
    for (const one of root.querySelectorAll(".zone")) one.textContent = `times in ${zone ?? "your zone"}`;
  }

  function replace(event) {
    tell(true);
    const part = document.getElementById(`part-${event.type}`);
    // What somebody has opened, scrolled or goes through by keyboard stays so.
    const opened = [...part.querySelectorAll("details[open]")].map((one) => one.id);
    const scrolled = new Map([...part.querySelectorAll("details .scrolls")].map((one) => [one.closest("details").id, one.scrollTop]));
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const within = focused?.closest("details")?.id;
    htmx.swap(part, event.data, { swapStyle: "innerHTML", settleDelay: 0 });
    localize(part);
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, top] of scrolled) {
      const box = document.querySelector(`#${CSS.escape(id)} .scrolls`);
      if (box) box.scrollTop = top;
    }
    const again = focused?.id ? document.getElementById(focused.id)
      : within && document.querySelector(`#${CSS.escape(within)} ${focused.tagName === "SUMMARY" ? "summary" : ".scrolls"}`);
    again?.focus({ preventScroll: true });
  }

  function tell(isLive) {
    sign.hidden = false;
    sign.classList.toggle("on", isLive);
    const text = isLive ? "Live" : "Not live; trying again";
    if (sign.textContent !== text) sign.textContent = text;
  }

  function close() {
    clearTimeout(again);
    source?.close();
    source = null;
  }

  function open() {
    close();
    if (document.hidden) return;
    source = new EventSource(overview.dataset.stream);
    source.addEventListener("open", () => tell(true));
    for (const part of overview.children) source.addEventListener(part.id.slice("part-".length), replace);
    source.addEventListener("away", () => tell(false));
    source.addEventListener("error", refused);
  }

  // A browser comes again by itself where a stream ends, but not where there is none to be had: the session has ended,
  // or the server has no place or is not there.
  async function refused() {
    tell(false);
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    again = setTimeout(open, AGAIN_MS);
    const answer = await fetch(location.pathname, { redirect: "manual" }).catch(() => null);
    if (answer?.type === "opaqueredirect") location.reload();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  localize(overview);
  open();
})();
