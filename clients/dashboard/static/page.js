"use strict";
/* The page. As a dashboard it polls its server for what is new; as a report it shows the data embedded in the file.
 * Names of studies and trials come from untrusted programs, so all text is set as text, never as HTML. */
(() => {
  const POLL_MS = 1000, REPORT_MS = 3000, OVERVIEW_MS = 3000, MAX_ROWS = 100;
  const KINDS = { running: "running", finished: "finished", stopped: "stopped", shadow: "would have been stopped", failed: "failed" };
  const $ = (id) => document.getElementById(id);
  const report = $("report") ? JSON.parse($("report").textContent) : null; // null on the dashboard

  let study = null; // settings of the study that is shown
  let trials = new Map(); // name -> trial
  let visible = []; // the trials that pass the filters, best first
  let nEntries = 0, reportedEntries = -1, reportedAt = 0; // log entries shown: by the curves, and by the report below them, and when
  let chosen = { trial: null, epoch: 0 };
  let studies = [];
  const hidden = new Set(); // kinds of trials that the buttons hide

  const curves = new Charts.LearningCurves($("curves"), (trial, epoch) => choose(trial, epoch));
  const final = new Charts.Diagonal($("final"), { x: "predicted", y: "final" });
  const reliability = new Charts.Diagonal($("reliability"), { x: "stated", y: "share no better" }, [0, 1]);

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
  /** A value of the metric, with the same number of decimals as others of its size, so that columns line up. */
  const metric = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(3) : value.toFixed(Math.abs(value) < 10 ? 4 : 2));
  /** A mean and half the width of its 95 % interval, both rounded to the second digit of that width. */
  function plusMinus(mean, sigma) {
    const halfWidth = 1.959964 * sigma, decimals = halfWidth > 0 ? 1 - Math.floor(Math.log10(halfWidth)) : 4;
    if (Math.abs(mean) >= 1e5 || decimals > 6) return `${number(mean)} ± ${number(halfWidth, 2)}`;
    return `${mean.toFixed(Math.max(0, decimals))} ± ${halfWidth.toFixed(Math.max(0, decimals))}`;
  }
  const chance = (p) => (p === null || p === undefined ? "–" : p > 0.9995 ? "> 0.999" : p.toFixed(3));
  const score = (value) => (value === null ? "–" : value.toFixed(4));
  const configuration = (trial) => Object.entries(trial.configuration).map(([key, value]) => `${key}=${typeof value === "number" ? number(value) : value}`).join(", ");

  // Trials.

  function kindOf(trial) {
    if (trial.state === "failed" || trial.state === "stopped") return trial.state;
    if (trial.stop && !trial.stop.acted_on) return "shadow";
    return trial.state;
  }

  function take(changed) {
    for (const trial of changed) {
      trial.kind = kindOf(trial);
      trials.set(trial.name, trial);
      if (chosen.trial && chosen.trial.name === trial.name) chosen.trial = trial;
    }
  }

  /** The state of a trial in words, with the epoch of its last resume. */
  const stateOf = (trial) => KINDS[trial.kind] + (trial.resumed ? `, resumed at epoch ${trial.resumed[trial.resumed.length - 1]}` : "");

  const OPERATORS = { "=": (a, b) => a === b, "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b };

  /** The filter "cnn lr<0.01": words found in the name or configuration, and comparisons with one of its values; all must hold. */
  function filterOf(text) {
    const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const [, key, operator, wanted] = word.match(/^([^<>=]+)(<=|>=|=|<|>)([^<>=]+)$/) || [];
      if (!key) return (trial) => trial.name.toLowerCase().includes(word) || configuration(trial).toLowerCase().includes(word);
      return (trial) => Object.entries(trial.configuration).some(([name, value]) =>
        name.toLowerCase() === key && (typeof value === "number" && !isNaN(Number(wanted)) ? OPERATORS[operator](value, Number(wanted)) : operator === "=" && String(value).toLowerCase() === wanted));
    });
    return (trial) => tests.every((test) => test(trial));
  }

  function refilter() {
    const passes = filterOf($("trial-filter").value), sign = study.direction === "minimize" ? 1 : -1;
    const rank = (trial) => (trial.values.length ? sign * trial.values[trial.values.length - 1] : Infinity);
    visible = [...trials.values()].filter((trial) => !hidden.has(trial.kind) && passes(trial)).sort((a, b) => rank(a) - rank(b));
    curves.show(study, visible);
    $("shown").textContent = visible.length === trials.size ? "" : `${count(visible.length)} of ${plural(trials.size, "trial")}`;
    if (chosen.trial && !visible.includes(chosen.trial)) chosen = { trial: null, epoch: 0 };
    choose(chosen.trial, chosen.epoch);
    listTrials();
  }

  function choose(trial, epoch) {
    const other = trial !== chosen.trial;
    chosen = { trial, epoch: trial ? Math.max(1, Math.min(epoch || trial.values.length, trial.values.length)) : 0 };
    curves.point(trial, chosen.epoch);
    readOut();
    if (other) markRow();
  }

  function readOut() {
    const { trial, epoch } = chosen, box = $("readout");
    if (!trial) {
      box.replaceChildren(el("span", { className: "muted" }, trials.size ? "Point at a curve, or press the arrow keys, to see the prediction at each epoch." : "No trials yet."));
      return;
    }
    const item = (name, value) => el("span", {}, name + " ", el("b", {}, value));
    const end = curves.predicted(trial, epoch), parts = [el("span", {}, el("b", {}, trial.name), " ", el("span", { className: "in-" + trial.kind }, stateOf(trial)))];
    parts.push(item(`epoch ${curves.epochOf(epoch)}:`, metric(trial.values[epoch - 1])));
    if (end) {
      const when = end.point === epoch ? "" : ` (at epoch ${end.epoch})`;
      parts.push(item(end.target === study.max_epochs ? "predicted final value" : `predicted at epoch ${end.target}`, `${plusMinus(end.mean, end.sigma)}${when}`));
      if (end.probability !== null && end.probability !== undefined) parts.push(item("P(no better)", chance(end.probability)));
    } else parts.push(el("span", { className: "muted" }, "no prediction at this epoch"));
    if (trial.kind !== "running") parts.push(item("ended at", metric(trial.values[trial.values.length - 1]) + ` after ${trial.n_epochs}`));
    const text = configuration(trial), why = trial.stop && (epoch >= curves.pointOf(trial.stop.epoch) || trial.stop.acted_on) ? `Epoch ${trial.stop.epoch}: ${trial.stop.reason}` : epoch === trial.values.length ? trial.reason : "";
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
    const rows = visible.slice(0, MAX_ROWS).map((trial) => {
      const end = curves.predicted(trial, trial.values.length), n = trial.values.length;
      const row = el("tr", { "aria-selected": "false" }, ...cells(headings, [
        trial.name, el("span", { className: "in-" + trial.kind }, stateOf(trial)), String(trial.n_epochs), metric(n ? trial.values[n - 1] : null),
        end && trial.kind !== "finished" && end.target === study.max_epochs ? plusMinus(end.mean, end.sigma) : "–", end ? chance(end.probability) : "–", configuration(trial),
      ]));
      row.dataset.trial = trial.name;
      row.querySelector(".trial").title = trial.name;
      return row;
    });
    fill($("trials"), headings, rows);
    $("trials-note").textContent = visible.length > MAX_ROWS ? `The best ${MAX_ROWS} of ${count(visible.length)}, by last value.` : "Best first, by last value. Arrow keys choose a trial.";
    markRow();
  }

  function markRow() {
    for (const row of $("trials").querySelectorAll("tbody tr")) {
      row.setAttribute("aria-selected", String(chosen.trial !== null && row.dataset.trial === chosen.trial.name));
    }
  }

  /** What a decision to stop led to. */
  function effectOf(stop) {
    if (stop.resumed !== null) return el("span", { className: "in-running" }, `resumed at epoch ${stop.resumed}`);
    return el("span", { className: stop.acted_on ? "in-stopped" : "in-shadow" }, stop.acted_on ? "stopped" : "would stop");
  }

  function listStops(stops) {
    const hasChances = stops.some((stop) => stop.chance !== null);
    const headings = [["trial", "trial"], ["", ""], ["epoch", "n"], ...(hasChances ? [["P(among the best)", "n"]] : []), ["P(no better)", "n"], ["predicted", "n"], ["epochs saved", "n"], ["reason", "reason"]];
    const rows = stops.slice(0, report ? stops.length : MAX_ROWS).map((stop) => el("tr", {}, ...cells(headings, [
      stop.trial, effectOf(stop), String(stop.epoch), ...(hasChances ? [percent(stop.chance, 2)] : []), chance(stop.probability),
      stop.mean === null ? "–" : plusMinus(stop.mean, stop.sigma), String(stop.saved), stop.reason,
    ])));
    fill($("stops"), headings, rows);
    $("stops-note").textContent = stops.length ? `${plural(stops.length, "stop")}, latest first.` : "No trial was stopped yet.";
  }

  function listCalibration(calibration) {
    const stated = percent(calibration.stated_coverage), heldOut = calibration.stages_held_out;
    const headings = [["observed"], ["forecasts", "n"], ["error (rms)", "n"], [`inside the ${stated} interval`, "n"], ["last 40", "n"], ["beat the best", "n"], ["expected", "n"], ["Brier score", "n"], ["expected", "n"], ...(heldOut ? [["held out: inside", "n"]] : [])];
    const rows = calibration.stages.map((stage, i) => el("tr", {}, ...cells(headings, [
      stage.stage, count(stage.n), metric(stage.rmse), stage.n ? `${percent(stage.coverage)}  (${percent(stage.coverage_interval[0])} – ${percent(stage.coverage_interval[1])})` : "–",
      percent(stage.recent_coverage), stage.n_with_probability ? count(stage.n_better) : "–", stage.n_with_probability ? stage.expected_better.toFixed(1) : "–", score(stage.brier), score(stage.expected_brier),
      ...(heldOut ? [heldOut[i].n ? `${heldOut[i].n_covered} of ${heldOut[i].n}` : "–"] : []),
    ])));
    fill($("calibration"), headings, rows);
    $("calibration-note").textContent = calibration.sample + (!calibration.drift.warn && calibration.stages.some((stage) => stage.n >= 20) ? " No drift was found." : "");
    $("drift-rule").textContent = calibration.drift.rule;
  }

  // The report: figures, calibration, stops.

  function showReport({ summary, calibration, stops }) {
    const n = summary.n_trials, shadow = summary.shadow_stops;
    const figures = [
      ["trials", count(Object.values(n).reduce((a, b) => a + b, 0)), n.running ? `${count(n.running)} running` : ""],
      [`best ${study.metric}`, metric(summary.best_value), summary.best_trial || ""],
      ["epochs trained", count(summary.epochs_trained), ""],
      ["epochs saved", count(summary.epochs_saved), summary.epochs_saved ? percent(summary.saved_share) : ""],
    ];
    if (summary.seed_noise) {
      const noise = summary.seed_noise, lost = noise.shadow_lost_best ? "a stop would have lost more" : "";
      figures.push(["seed noise", number(noise.deviation, 2), [`${plural(noise.n_ties, "other")} within it of the best`, lost].filter(Boolean).join("; ")]);
    }
    if (summary.n_resumed) figures.push(["resumed", count(summary.n_resumed), "after a stop"]);
    if (shadow.n) {
      figures.push(["would have been stopped", count(shadow.n), shadow.n_complete ? `${shadow.n_lost} of ${shadow.n_complete} in the best tenth` : ""]);
      figures.push([study.shadow ? "would have saved" : "cost of holding out", count(shadow.would_save_epochs), "epochs"]);
    }
    $("figures").replaceChildren(...figures.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value + " ", el("small", {}, more)))));
    $("drift").hidden = !calibration.drift.warn;
    $("drift-found").replaceChildren(...calibration.drift.found.map((found) => el("p", {}, found.sentence)));
    listCalibration(calibration);
    listStops(stops);
    final.show(calibration.points.map(([stage, mean, , actual]) => ({ x: mean, y: actual, strength: 0.15 + 0.17 * stage, size: calibration.points.length > 800 ? 1.8 : 2.6 })));
    $("final-note").textContent = calibration.points.length ? `${plural(calibration.points.length, "forecast")} at five lengths of a curve; later ones are drawn stronger.` : "Shown once trials with predictions are complete.";
    reliability.show(calibration.reliability.map((bin) => ({ x: bin.mean_stated, y: bin.n_no_better / bin.n, low: bin.interval[0], high: bin.interval[1], strength: 1, size: 3.5 })));
    $("reliability-note").textContent = calibration.reliability.length ? "P(no better than the value to beat), with the 95% confidence interval of the share observed." : "Shown once trials with probabilities are complete.";
    $("brackets-panel").hidden = !summary.brackets.length;
    listBrackets($("brackets"), summary.brackets);
    $("brackets-note").textContent = "f-Hyperband. For each rung: trials that reached its epoch, that train towards it, and that ended before it.";
    countStates();
  }

  function listBrackets(box, brackets) {
    box.replaceChildren(...brackets.map((bracket) => el("div", { className: "bracket" },
      el("div", {}, `Iteration ${bracket.iteration + 1}, s = ${bracket.s}`),
      el("div", { className: "rungs" }, ...bracket.rungs.map((rung) => {
        const of = rung.planned || rung.reached + rung.training + rung.stopped || 1, parts = ["reached", "training", "stopped"];
        const bar = el("div", { className: "fill" }, ...parts.map((part) => { const made = el("i", { className: part }); made.style.width = `${(100 * rung[part]) / of}%`; return made; }));
        const words = [`${rung.reached}${rung.planned ? " of " + rung.planned : ""} reached it`, rung.training ? `${rung.training} training` : "", rung.stopped ? `${rung.stopped} ended before` : ""].filter(Boolean).join(", ");
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
    if (!trial) return choose(visible[0], visible[0].values.length);
    if (step) return choose(trial, epoch + step);
    if (!other) return choose(trial, event.key === "Home" ? 1 : trial.values.length);
    const sign = study.direction === "minimize" ? 1 : -1;
    const there = visible.filter((one) => one.values.length >= epoch).sort((a, b) => sign * (a.values[epoch - 1] - b.values[epoch - 1]));
    const next = there[there.indexOf(trial) + other];
    if (next) choose(next, epoch);
  });

  $("trials-scroll").addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !visible.length) return;
    event.preventDefault();
    const at = chosen.trial ? visible.indexOf(chosen.trial) + step : 0;
    const next = visible[Math.max(0, Math.min(Math.min(visible.length, MAX_ROWS) - 1, at))];
    choose(next, next.values.length);
    const row = $("trials").querySelector("tr[aria-selected='true']");
    if (row) row.scrollIntoView({ block: "nearest" });
  });
  $("trials").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-trial]"), trial = row && trials.get(row.dataset.trial);
    if (trial) choose(trial, trial.values.length);
  });
  $("trial-filter").addEventListener("input", () => refilter());

  // Studies.

  // A percent sign that somebody typed stands for itself.
  const wanted = () => location.hash.slice(1).replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
    try { return decodeURIComponent(bytes); } catch { return bytes; }
  });

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
    [study, trials, nEntries, reportedEntries, reportedAt, chosen] = [null, new Map(), 0, -1, 0, { trial: null, epoch: 0 }];
    hidden.clear();
    $("states").replaceChildren();
    poll();
  }

  // Polling the dashboard's server.

  async function ask(path, parameters = {}) {
    const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
    return answer.json();
  }

  let latestPoll = 0; // number of the latest poll: the answer to an older one is dropped, as the study may be another by then
  async function poll() {
    const name = study ? study.name : wanted() || (studies.length ? studies[0].name : "");
    if (!name || document.hidden) return undefined;
    if (!study) $("nothing").textContent = `Reading ${name}.`;
    const thisPoll = ++latestPoll;
    const news = await ask("/api/study", { name, after: nEntries }).catch((error) => health(false, error.message));
    if (!news || thisPoll !== latestPoll) return undefined;
    const fresh = study === null;
    if (fresh) showStudy(news.study);
    if (news.full) trials = new Map();
    take(news.trials);
    const changed = fresh || news.n_entries !== nEntries;
    nEntries = news.n_entries;
    if (changed) { countStates(); refilter(); }
    if (fresh) listStudies();
    $("reading").textContent = news.n_unread ? `reading the log: ${count(nEntries)} of ${count(nEntries + news.n_unread)} entries` : "";
    if (news.n_unread) return poll();
    if (reportedEntries !== nEntries && Date.now() - reportedAt >= REPORT_MS) {
      [reportedEntries, reportedAt] = [nEntries, Date.now()];
      const latest = await ask("/api/report", { name }).catch((error) => health(false, error.message));
      if (latest && study && study.name === name) showReport(latest);
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
    health(state.ok, state.ok ? `${state.address} answers in ${state.latency_ms.toFixed(0)} ms` : `${state.address}: ${state.problem}`);
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
    $("run-note").textContent = run.problem || `${run.trained} of ${run.planned} planned epochs trained${run.over ? ", finished" : ""}. For each rung: configurations that reached its epoch, that train towards it, and that ended before it.`;
    listBrackets($("run-brackets"), run.brackets || []);
  }

  function showServer(state) {
    $("server").hidden = !state.studies.length;
    const headings = [["study", "trial"], ["trials", "n"], ["running", "n"], ["models of", "n"], ["fits"]];
    fill($("server-table"), headings, state.studies.map((one) => el("tr", {}, ...cells(headings, [
      one.name, count(Object.values(one.n_trials).reduce((a, b) => a + b, 0)), count(one.n_trials.running || 0),
      one.n_fitted ? plural(one.n_fitted, "curve") : "none yet", one.fitted ? "up to date" : "being fitted",
    ]))));
  }

  function every(milliseconds, act) {
    const again = () => Promise.resolve(act()).catch((error) => health(false, error.message)).finally(() => setTimeout(again, milliseconds));
    again();
  }

  if (report) {
    document.body.classList.add("report");
    $("side").hidden = true;
    $("health-text").textContent = report.caption;
    $("health-dot").hidden = true;
    showStudy(report.study);
    take(report.trials);
    countStates();
    refilter();
    showReport(report);
  } else {
    every(OVERVIEW_MS, overview);
    every(POLL_MS, poll);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
    window.addEventListener("hashchange", () => { if (wanted()) open(wanted()); });
  }
})();
