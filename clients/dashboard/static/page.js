"use strict";
/* The page: asks the dashboard's server what is new, or shows what a report was frozen with. Names come from trainers, so all text is set as text. */
(() => {
  const POLL_MS = 1000, INSIGHT_MS = 3000, OVERVIEW_MS = 3000, MOST_ROWS = 100;
  const KINDS = { running: "running", finished: "finished", stopped: "stopped", held: "would have been stopped", failed: "failed" };
  const $ = (id) => document.getElementById(id);
  const frozen = $("frozen") ? JSON.parse($("frozen").textContent) : null;

  let study = null; // what it is
  let trials = new Map(); // name -> trial
  let visible = []; // of them, those that the filters let through, best first
  let version = 0, insightVersion = -1, insightAt = 0;
  let chosen = { trial: null, epoch: 0 };
  let studies = [];
  const hidden = new Set(); // kinds

  const curves = new Charts.LearningCurves($("curves"), (trial, epoch) => choose(trial, epoch));
  const final = new Charts.Diagonal($("final"), { x: "predicted", y: "final" });
  const reliability = new Charts.Diagonal($("reliability"), { x: "stated", y: "no better, share" }, [0, 1]);

  function el(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value; else made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const number = (value, digits = 4) =>
    value === null || value === undefined ? "–" : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
  const percent = (share, digits = 0) => (share === null || share === undefined ? "–" : (100 * share).toFixed(digits) + "%");
  const count = (n) => n.toLocaleString("en-US").replaceAll(",", "\u202f");
  const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;
  /** A value of the metric, with as many decimals as its neighbours in a column. */
  const metric = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(3) : value.toFixed(Math.abs(value) < 10 ? 4 : 2));
  /** A mean and its 95 % interval, both to the two first digits of that. */
  function plusMinus(mean, sigma) {
    const around = 1.959964 * sigma, decimals = around > 0 ? 1 - Math.floor(Math.log10(around)) : 4;
    if (Math.abs(mean) >= 1e5 || decimals > 6) return `${number(mean)} ± ${number(around, 2)}`;
    return `${mean.toFixed(Math.max(0, decimals))} ± ${around.toFixed(Math.max(0, decimals))}`;
  }
  const chance = (p) => (p === null || p === undefined ? "–" : p > 0.9995 ? "> 0.999" : p.toFixed(3));
  const score = (value) => (value === null ? "–" : value.toFixed(4));
  const configuration = (trial) => Object.entries(trial.c).map(([key, value]) => `${key}=${typeof value === "number" ? number(value) : value}`).join(", ");

  // Trials.

  function kindOf(trial) {
    if (trial.s === "failed" || trial.s === "stopped") return trial.s;
    if (trial.stop && !trial.stop.acted) return "held";
    return trial.s;
  }

  function take(changed) {
    for (const trial of changed) {
      trial.kind = kindOf(trial);
      trials.set(trial.n, trial);
      if (chosen.trial && chosen.trial.n === trial.n) chosen.trial = trial;
    }
  }

  const OPERATORS = { "=": (a, b) => a === b, "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b };

  /** "cnn lr<0.01": parts of the name or configuration, and comparisons with a value of it; all must hold. */
  function filterOf(text) {
    const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const [, key, operator, wanted] = word.match(/^([^<>=]+)(<=|>=|=|<|>)([^<>=]+)$/) || [];
      if (!key) return (trial) => trial.n.toLowerCase().includes(word) || configuration(trial).toLowerCase().includes(word);
      return (trial) => Object.entries(trial.c).some(([name, value]) =>
        name.toLowerCase() === key && (typeof value === "number" && !isNaN(Number(wanted)) ? OPERATORS[operator](value, Number(wanted)) : operator === "=" && String(value).toLowerCase() === wanted));
    });
    return (trial) => tests.every((test) => test(trial));
  }

  function refilter() {
    const passes = filterOf($("trial-filter").value), sign = study.direction === "minimize" ? 1 : -1;
    const rank = (trial) => (trial.v.length ? sign * trial.v[trial.v.length - 1] : Infinity);
    visible = [...trials.values()].filter((trial) => !hidden.has(trial.kind) && passes(trial)).sort((a, b) => rank(a) - rank(b));
    curves.show(study, visible);
    $("shown").textContent = visible.length === trials.size ? "" : `${count(visible.length)} of ${plural(trials.size, "trial")}`;
    if (chosen.trial && !visible.includes(chosen.trial)) chosen = { trial: null, epoch: 0 };
    choose(chosen.trial, chosen.epoch);
    listTrials();
  }

  function choose(trial, epoch) {
    const other = trial !== chosen.trial;
    chosen = { trial, epoch: trial ? Math.max(1, Math.min(epoch || trial.v.length, trial.v.length)) : 0 };
    curves.point(trial, chosen.epoch);
    readOut();
    if (other) markRow();
  }

  function readOut() {
    const { trial, epoch } = chosen, box = $("readout");
    if (!trial) {
      box.replaceChildren(el("span", { className: "muted" }, trials.size ? "Point at a curve, or press the arrow keys, to see what was predicted at each epoch." : "No trial yet."));
      return;
    }
    const item = (name, value) => el("span", {}, name + " ", el("b", {}, value));
    const end = curves.predicted(trial, epoch), parts = [el("span", {}, el("b", {}, trial.n), " ", el("span", { className: "in-" + trial.kind }, KINDS[trial.kind]))];
    parts.push(item(`epoch ${epoch}:`, metric(trial.v[epoch - 1])));
    if (end) {
      const when = end.epoch === epoch ? "" : ` (at epoch ${end.epoch})`;
      parts.push(item(end.target === study.max_epochs ? "predicted final value" : `predicted at epoch ${end.target}`, `${plusMinus(end.mean, end.sigma)}${when}`));
      if (end.p !== null && end.p !== undefined) parts.push(item("P(no better)", chance(end.p)));
    } else parts.push(el("span", { className: "muted" }, "not predicted at this epoch"));
    if (trial.kind !== "running") parts.push(item("ended at", metric(trial.v[trial.v.length - 1]) + ` after ${trial.v.length}`));
    const text = configuration(trial), why = trial.stop && (epoch >= trial.stop.e || trial.stop.acted) ? `Epoch ${trial.stop.e}: ${trial.stop.r}` : epoch === trial.v.length ? trial.r : "";
    parts.push(el("span", { className: "why small" }, [text, why].filter(Boolean).join(" · ")));
    box.replaceChildren(...parts);
  }

  // Tables.

  function fill(table, headings, rows) {
    const head = el("thead", {}, el("tr", {}, ...headings.map(([text, kind]) => el("th", { className: kind || "", scope: "col" }, text))));
    table.replaceChildren(head, el("tbody", {}, ...rows));
  }
  const cells = (headings, values) => values.map((value, i) => {
    const cell = el("td", { className: headings[i][1] || "" }, value);
    cell.dataset.name = headings[i][0]; // shown beside the value where there is no room for columns
    return cell;
  });

  function listTrials() {
    const headings = [["trial", "trial"], ["state"], ["epochs", "n"], [`last ${study.metric}`, "n"], ["predicted final", "n"], ["P(no better)", "n"], ["configuration", "reason"]];
    const rows = visible.slice(0, MOST_ROWS).map((trial) => {
      const end = curves.predicted(trial, trial.v.length), n = trial.v.length;
      const row = el("tr", { "aria-selected": "false" }, ...cells(headings, [
        trial.n, el("span", { className: "in-" + trial.kind }, KINDS[trial.kind]), String(n), metric(n ? trial.v[n - 1] : null),
        end && trial.kind !== "finished" && end.target === study.max_epochs ? plusMinus(end.mean, end.sigma) : "–", end ? chance(end.p) : "–", configuration(trial),
      ]));
      row.dataset.trial = trial.n;
      row.querySelector(".trial").title = trial.n;
      return row;
    });
    fill($("trials"), headings, rows);
    $("trials-note").textContent = visible.length > MOST_ROWS ? `The best ${MOST_ROWS} of ${count(visible.length)}, by last value.` : "Best first, by last value. Arrow keys choose.";
    markRow();
  }

  function markRow() {
    for (const row of $("trials").querySelectorAll("tbody tr")) {
      row.setAttribute("aria-selected", String(chosen.trial !== null && row.dataset.trial === chosen.trial.n));
    }
  }

  function listStops(stops) {
    const headings = [["trial", "trial"], ["", ""], ["epoch", "n"], ["P(no better)", "n"], ["predicted", "n"], ["epochs spared", "n"], ["reason", "reason"]];
    const rows = stops.slice(0, frozen ? stops.length : MOST_ROWS).map((stop) => el("tr", {}, ...cells(headings, [
      stop.trial, el("span", { className: stop.acted_on ? "in-stopped" : "in-held" }, stop.acted_on ? "stopped" : "noted"), String(stop.epoch), chance(stop.probability),
      stop.mean === null ? "–" : plusMinus(stop.mean, stop.sigma), String(stop.saved), stop.reason,
    ])));
    fill($("stops"), headings, rows);
    $("stops-note").textContent = stops.length ? `${plural(stops.length, "stop")}, the latest first.` : "Nothing was stopped yet.";
  }

  function listCalibration(trust) {
    const stated = percent(trust.stated_coverage), held = trust.calibration_held_out;
    const headings = [["observed"], ["forecasts", "n"], ["error (rms)", "n"], [`inside the ${stated} interval`, "n"], ["last 40", "n"], ["beat the best", "n"], ["stated", "n"], ["Brier score", "n"], ["stated", "n"], ...(held ? [["held out: inside", "n"]] : [])];
    const rows = trust.calibration.map((stage, i) => el("tr", {}, ...cells(headings, [
      stage.stage, count(stage.n), metric(stage.rmse), stage.n ? `${percent(stage.coverage)}  (${percent(stage.coverage_interval[0])} – ${percent(stage.coverage_interval[1])})` : "–",
      percent(stage.recent_coverage), stage.n_stated ? count(stage.better) : "–", stage.n_stated ? stage.better_stated.toFixed(1) : "–", score(stage.brier), score(stage.brier_stated),
      ...(held ? [held[i].n ? `${held[i].covered} of ${held[i].n}` : "–"] : []),
    ])));
    fill($("calibration"), headings, rows);
    $("calibration-note").textContent = trust.sample + (!trust.drift.warn && trust.calibration.some((stage) => stage.n >= 20) ? " No drift was found." : "");
    $("drift-rule").textContent = trust.drift.rule;
  }

  // What it all comes to.

  function showInsight({ summary, trust, stops }) {
    const n = summary.n_trials, noted = summary.noted_stops;
    const figures = [
      ["trials", count(Object.values(n).reduce((a, b) => a + b, 0)), n.running ? `${count(n.running)} running` : ""],
      [`best ${study.metric}`, metric(summary.best_value), summary.best_trial || ""],
      ["epochs trained", count(summary.epochs_trained), ""],
      ["epochs saved", count(summary.epochs_saved), summary.epochs_saved ? percent(summary.saved_share) : ""],
    ];
    if (noted.n) {
      figures.push(["would have been stopped", count(noted.n), noted.n_complete ? `${noted.lost} of ${noted.n_complete} in the best tenth` : ""]);
      figures.push([study.shadow ? "would have saved" : "cost of holding out", count(noted.would_save), "epochs"]);
    }
    $("figures").replaceChildren(...figures.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value + " ", el("small", {}, more)))));
    $("drift").hidden = !trust.drift.warn;
    $("drift-found").replaceChildren(...trust.drift.found.map((found) => el("p", {}, found.sentence)));
    listCalibration(trust);
    listStops(stops);
    final.show(trust.points.map(([stage, mean, , actual]) => ({ x: mean, y: actual, strength: 0.15 + 0.17 * stage, size: trust.points.length > 800 ? 1.8 : 2.6 })));
    $("final-note").textContent = trust.points.length ? `${plural(trust.points.length, "forecast")} at five lengths of a curve; the later made, the stronger.` : "As soon as trials with predictions have run to their end.";
    reliability.show(trust.reliability.map((bin) => ({ x: bin.stated, y: bin.no_better / bin.n, low: bin.interval[0], high: bin.interval[1], strength: 1, size: 3.5 })));
    $("reliability-note").textContent = trust.reliability.length ? "P(no better than the value to beat), with 95% intervals of what happened." : "As soon as trials with probabilities have run to their end.";
    $("brackets-panel").hidden = !summary.brackets.length;
    listBrackets($("brackets"), summary.brackets);
    $("brackets-note").textContent = "f-Hyperband: of each rung, the trials that reached its epoch, train towards it, or ended on the way.";
    countStates();
  }

  function listBrackets(box, brackets) {
    box.replaceChildren(...brackets.map((bracket) => el("div", { className: "bracket" },
      el("div", {}, `Iteration ${bracket.iteration + 1}, s = ${bracket.s}`),
      el("div", { className: "rungs" }, ...bracket.rungs.map((rung) => {
        const of = rung.planned || rung.reached + rung.training + rung.stopped || 1, parts = ["reached", "training", "stopped"];
        const bar = el("div", { className: "fill" }, ...parts.map((part) => { const made = el("i", { className: part }); made.style.width = `${(100 * rung[part]) / of}%`; return made; }));
        const words = [`${rung.reached}${rung.planned ? " of " + rung.planned : ""} there`, rung.training ? `${rung.training} training` : "", rung.stopped ? `${rung.stopped} ended` : ""].filter(Boolean).join(", ");
        return el("div", { className: "rung small" }, el("div", {}, plural(rung.epochs, "epoch")), bar, el("div", { className: "muted" }, words));
      })))));
  }

  function countStates() {
    const n = {};
    for (const trial of trials.values()) n[trial.kind] = (n[trial.kind] || 0) + 1;
    const shown = Object.keys(KINDS).filter((kind) => n[kind] || hidden.has(kind));
    const box = $("states"), known = [...box.children].map((button) => button.dataset.kind).join();
    if (known !== shown.join()) {
      box.replaceChildren(...shown.map((kind) => {
        const button = el("button", { type: "button", className: "state", "aria-pressed": String(!hidden.has(kind)) }, el("span", { className: "swatch " + kind }), el("span", {}));
        button.dataset.kind = kind;
        button.addEventListener("click", () => {
          if (!hidden.delete(kind)) hidden.add(kind);
          button.setAttribute("aria-pressed", String(!hidden.has(kind)));
          refilter();
        });
        return button;
      }));
    }
    for (const button of box.children) button.lastChild.textContent = `${KINDS[button.dataset.kind]} ${count(n[button.dataset.kind] || 0)}`;
  }

  function showStudy(about) {
    $("reading").textContent = "";
    study = about;
    $("nothing").hidden = true;
    $("study").hidden = false;
    $("name").textContent = study.name;
    document.title = `${study.name} · curvestop`;
    const settings = Object.entries(study.policy_settings).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
    $("about").textContent = `${study.metric}, ${study.direction}d over ${plural(study.max_epochs, "epoch")} · policy ${study.policy}${settings ? ` (${settings})` : ""} · predictor ${study.predictor}`;
    $("chips").replaceChildren(...[study.shadow ? "shadow mode: nothing is stopped" : null, study.hold_out ? `${percent(study.hold_out)} held out` : null].filter(Boolean).map((text) => el("span", { className: "chip" }, text)), "");
    $("curves").setAttribute("aria-label", `Learning curves of ${study.name}`);
  }

  // Keys.

  $("curves").addEventListener("keydown", (event) => {
    const { trial, epoch } = chosen, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], other = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!visible.length || !(step || other || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    if (!trial) return choose(visible[0], visible[0].v.length);
    if (step) return choose(trial, epoch + step);
    if (!other) return choose(trial, event.key === "Home" ? 1 : trial.v.length);
    const sign = study.direction === "minimize" ? 1 : -1;
    const there = visible.filter((one) => one.v.length >= epoch).sort((a, b) => sign * (a.v[epoch - 1] - b.v[epoch - 1]));
    const next = there[there.indexOf(trial) + other];
    if (next) choose(next, epoch);
  });

  $("trials-scroll").addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !visible.length) return;
    event.preventDefault();
    const at = chosen.trial ? visible.indexOf(chosen.trial) + step : 0;
    const next = visible[Math.max(0, Math.min(Math.min(visible.length, MOST_ROWS) - 1, at))];
    choose(next, next.v.length);
    const row = $("trials").querySelector("tr[aria-selected='true']");
    if (row) row.scrollIntoView({ block: "nearest" });
  });
  $("trials").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-trial]"), trial = row && trials.get(row.dataset.trial);
    if (trial) choose(trial, trial.v.length);
  });
  $("trial-filter").addEventListener("input", () => refilter());

  // Studies.

  const wanted = () => decodeURIComponent(location.hash.slice(1));

  function listStudies() {
    const text = $("study-filter").value.toLowerCase();
    const shown = studies.filter((one) => one.name.toLowerCase().includes(text));
    $("studies").replaceChildren(...shown.map((one, i) => {
      const n = one.n_trials, total = Object.values(n).reduce((a, b) => a + b, 0);
      const words = `${plural(total, "trial")}${n.running ? `, ${count(n.running)} running` : ""}`;
      const item = el("li", { role: "option", id: `study-${i}`, "aria-selected": String(study !== null && one.name === study.name) }, el("div", { className: "name" }, one.name), el("div", { className: "small muted" }, words));
      item.addEventListener("click", () => open(one.name));
      item.dataset.name = one.name;
      if (study && one.name === study.name) $("studies").setAttribute("aria-activedescendant", item.id);
      return item;
    }));
  }
  $("study-filter").addEventListener("input", listStudies);
  $("studies").addEventListener("keydown", (event) => {
    const items = [...$("studies").children], step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !items.length) return;
    event.preventDefault();
    const at = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
    const next = items[Math.max(0, Math.min(items.length - 1, at + step))];
    open(next.dataset.name);
  });

  function open(name) {
    if (study && study.name === name) return;
    history.replaceState(null, "", "#" + encodeURIComponent(name));
    [study, trials, version, insightVersion, insightAt, chosen] = [null, new Map(), 0, -1, 0, { trial: null, epoch: 0 }];
    hidden.clear();
    $("states").replaceChildren();
    poll();
  }

  // Asking.

  async function ask(path, parameters = {}) {
    const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
    return answer.json();
  }

  let asking = 0; // the number of the latest poll: an older one's answer is of no use
  async function poll() {
    const name = study ? study.name : wanted() || (studies.length ? studies[0].name : "");
    if (!name || document.hidden) return undefined;
    if (!study) $("nothing").textContent = `Reading ${name}.`;
    const mine = ++asking;
    const news = await ask("/api/study", { name, after: version }).catch((error) => health(false, error.message));
    if (!news || mine !== asking) return undefined;
    const fresh = study === null;
    if (fresh) showStudy(news.study);
    if (news.anew) trials = new Map();
    take(news.trials);
    const changed = fresh || news.version !== version;
    version = news.version;
    if (changed) { countStates(); refilter(); }
    if (fresh) listStudies();
    $("reading").textContent = news.more ? `reading the log: ${count(version)} of ${count(version + news.more)} entries` : "";
    if (news.more) return poll();
    if (insightVersion !== version && Date.now() - insightAt >= INSIGHT_MS) {
      [insightVersion, insightAt] = [version, Date.now()];
      const insight = await ask("/api/insight", { name }).catch((error) => health(false, error.message));
      if (insight && study && study.name === name) showInsight(insight);
    }
    return undefined;
  }

  function health(ok, text) {
    $("health-dot").className = "dot " + (ok ? "ok" : "bad");
    $("health-text").textContent = text;
  }

  async function overview() {
    const state = await ask("/api/overview").catch((error) => health(false, `the dashboard does not answer: ${error.message}`));
    if (!state) return;
    health(state.ok, state.ok ? `${state.address} answers in ${state.answered_ms.toFixed(0)} ms` : `${state.address}: ${state.problem}`);
    $("run").hidden = !state.run;
    if (state.run) showRun(state.run);
    if (!state.ok) return;
    const before = studies.length;
    studies = state.studies;
    listStudies();
    showServer(state);
    if (!before && studies.length) poll();
  }

  function showRun(run) {
    $("run-title").textContent = `Run: ${run.name}`;
    $("run-note").textContent = run.problem || `${run.trained} of ${run.planned} planned epochs trained${run.over ? ", over" : ""}; of each rung, the configurations that reached its epoch, train towards it, or ended on the way.`;
    listBrackets($("run-brackets"), run.brackets || []);
  }

  function showServer(state) {
    $("server").hidden = !state.studies.length;
    const headings = [["study", "trial"], ["trials", "n"], ["running", "n"], ["models of", "n"], ["fits"]];
    fill($("server-table"), headings, state.studies.map((one) => el("tr", {}, ...cells(headings, [
      one.name, count(Object.values(one.n_trials).reduce((a, b) => a + b, 0)), count(one.n_trials.running || 0),
      one.n_fitted ? plural(one.n_fitted, "curve") : "none yet", one.fitted ? "up to date" : "fitting",
    ]))));
  }

  function every(milliseconds, act) {
    const again = () => Promise.resolve(act()).catch((error) => health(false, error.message)).finally(() => setTimeout(again, milliseconds));
    again();
  }

  if (frozen) {
    document.body.classList.add("frozen");
    $("side").hidden = true;
    $("health-text").textContent = frozen.told;
    $("health-dot").hidden = true;
    showStudy(frozen.study);
    take(frozen.trials);
    countStates();
    refilter();
    showInsight(frozen);
  } else {
    every(OVERVIEW_MS, overview);
    every(POLL_MS, poll);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
    window.addEventListener("hashchange", () => { if (wanted()) open(wanted()); });
  }
})();
