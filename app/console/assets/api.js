"use strict";
// Show the gateway's OpenAPI document, and send its calls with the session. What is shown of a call, the curl line too,
// is what a service would send.
(() => {
  const place = document.getElementById("api");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", paint);
  paint();

  function signed(request) {
    const url = new URL(request.url, location.href);
    if (url.origin === location.origin && url.pathname.startsWith("/v1/")) {
      request.url = place.dataset.calls + url.pathname + url.search;
      request.headers[place.dataset.csrfHeader] = place.dataset.csrf;
    }
    return request;
  }

  SwaggerUIBundle({
    url: "/openapi.json",
    domNode: place,
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [() => ({ statePlugins: {}, wrapComponents: { authorizeBtn: () => () => null, authorizeOperationBtn: () => () => null } })],
    validatorUrl: null,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: false,
    filter: true,
    deepLinking: true,
    syntaxHighlight: false,
    showMutatedRequest: false,
    requestInterceptor: signed,
  });
})();
