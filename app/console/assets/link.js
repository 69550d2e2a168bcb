"use strict";
// Take the code out of the address, where a browser never sends it to a server, into the form. It is posted when its
// reader presses the button: what only looks at links (a preview, a browser that loads ahead) does not use it up.
(() => {
  const form = document.getElementById("by-link");
  const code = decodeURIComponent(location.hash.slice(1));
  if (!form || !code) return;
  history.replaceState(null, "", location.pathname);
  form.elements.ticket.value = code;
  document.getElementById("code").hidden = true;
  form.querySelector("button").focus();
})();
