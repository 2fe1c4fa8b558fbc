// Puts what the server sends, which is escaped there, into the place that waits for it. Nothing else.
"use strict";
const place = document.querySelector("[data-events]");
if (place) {
  const lost = document.getElementById("link");
  const source = new EventSource(place.dataset.events);
  source.onopen = () => { lost.hidden = true; };
  source.onerror = () => { lost.hidden = false; };
  source.onmessage = (event) => {
    const kept = (selector, key) => new Set([...place.querySelectorAll(selector)].map((one) => one[key]));
    const checked = kept("input:checked", "value");
    const open = kept("details[open][id]", "id");
    place.innerHTML = event.data;
    for (const one of place.querySelectorAll("input")) one.checked = checked.has(one.value);
    for (const one of place.querySelectorAll("details[id]")) one.open = open.has(one.id);
    const state = place.querySelector("[data-state]");
    const stop = document.getElementById("stop");
    if (state && stop) stop.hidden = state.dataset.state !== "running";
  };
  source.addEventListener("end", () => source.close());
}
