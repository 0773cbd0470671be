// Keeps the page fresh: one stream says that something changed, and the server renders the part that shows it again.
// Nothing is ever built from what the stream carries. Whatever may have been missed is made good by a refresh, so a
// lost connection loses nothing; that it is lost is said, and so is the age of what is shown.
"use strict";
(() => {
  const LEAST_PAUSE_MS = 500; // between two refreshes
  const SILENCE_MS = 25000; // the stream says something every 15 s
  const RETRY_MS = 3000;
  const APPLYING_MS = 1500; // until the copy has what was just applied, as a rule
  const status = document.querySelector("[data-stream]");
  const connection = document.getElementById("connection");
  let source = null;
  let heardAt = 0;
  let refreshedAt = 0;
  let waiting = null;
  let isAsking = false;
  let wasLost = false;
  let retry = null;
  let clockAheadMs = 0;

  const live = () => document.getElementById("live");
  const say = (state, text) => {
    if (connection.dataset.state === state) return;
    connection.dataset.state = state;
    connection.textContent = text;
  };
  const tell = (place, text) => {
    if (!place) return;
    place.hidden = !text;
    place.textContent = text;
  };
  const trouble = (text) => tell(document.getElementById("trouble"), text);
  // Of a form that was not answered, in its own place: the top of the page may be out of sight.
  const unheard = (form, text) => tell(form.querySelector(".unheard"), text);
  const isAct = (event) => event.detail.target.matches("form.act");

  const refresh = () => {
    if (waiting !== null || isAsking || document.hidden) {
      if (isAsking) waiting = waiting ?? "after";
      return;
    }
    const pause = Math.max(0, refreshedAt + LEAST_PAUSE_MS - performance.now());
    waiting = setTimeout(() => {
      waiting = isAsking ? "after" : null;
      if (isAsking) return;
      refreshedAt = performance.now();
      const options = { source: live(), target: "#live", select: "#live", swap: "outerHTML" };
      htmx.ajax("GET", live().dataset.here, options).catch(() => {}); // failures are told below
    }, pause);
  };

  const close = () => {
    if (source) source.close();
    source = null;
    clearTimeout(retry);
  };

  const lost = () => {
    wasLost = true;
    const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    say("lost", `Connection lost at ${time}. What you see is not live. Trying again …`);
  };

  const open = () => {
    close();
    heardAt = performance.now();
    source = new EventSource(status.dataset.stream);
    source.addEventListener("open", () => {
      heardAt = performance.now();
      say("live", "Live");
      if (wasLost) refresh(); // what the stream cannot bring back, the server can
      wasLost = false;
    });
    for (const kind of ["score", "alert", "action", "reset", "state"]) {
      source.addEventListener(kind, () => {
        heardAt = performance.now();
        refresh();
      });
    }
    source.addEventListener("error", () => {
      lost();
      // The browser comes back by itself after a cut, with the id of its last event; not after a refusal.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        retry = setTimeout(open, RETRY_MS);
        refresh(); // which leads to the login when that is what is missing
      }
    });
  };

  const tellAge = () => {
    const age = document.getElementById("age");
    if (!age || !age.dataset.asOf) return;
    const seconds = Math.max(0, Math.round((Date.now() + clockAheadMs - Date.parse(age.dataset.asOf)) / 1000));
    const text = seconds < 90 ? `${seconds} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
    age.textContent = `Data is ${text} old`;
    age.classList.toggle("old", seconds > 60);
  };
  const takeClock = () => {
    const age = document.getElementById("age");
    if (age) clockAheadMs = Date.parse(age.dataset.now) - Date.now();
    tellAge();
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    isAsking = true;
    if (isAct(event)) unheard(event.detail.target, "");
    if (live()) live().setAttribute("aria-busy", "true");
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    isAsking = false;
    if (live()) live().removeAttribute("aria-busy");
    if (waiting === "after") {
      waiting = null;
      refresh();
    }
    if (isAct(event)) setTimeout(refresh, APPLYING_MS);
  });
  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, (event) => {
      if (isAct(event)) return unheard(event.detail.target, "The server does not answer. Send it again; it counts once.");
      trouble("The server does not answer. What you see is the last that arrived.");
    });
  }
  const isForm = (xhr) => xhr.getResponseHeader("HX-Reswap") !== null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isForm(event.detail.xhr)) event.detail.shouldSwap = true; // one that was not taken says why itself
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401 || isForm(event.detail.xhr)) return; // htmx goes to the login
    if (isAct(event)) return unheard(event.detail.target, "This was not taken. Load the page again.");
    trouble("The figures cannot be read at the moment. What you see is the last that arrived.");
  });
  // What the reader has unfolded stays so.
  let unfolded = [];
  document.addEventListener("htmx:beforeSwap", () => {
    unfolded = [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of unfolded) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    takeClock();
  });

  // A browser allows six streams to one host, whatever the number of tabs: those that nobody sees give theirs back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      wasLost = true;
      say("waiting", "Paused");
    } else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) open();
  });
  setInterval(() => {
    tellAge();
    if (source && performance.now() - heardAt > SILENCE_MS) {
      lost();
      open();
    }
  }, 1000);
  takeClock();
  if (!document.hidden) open();
})();
