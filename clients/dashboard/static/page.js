"use strict";
/* The page. As a dashboard it polls its server for what is new; as a report it shows the data embedded in the file.
 * Names of studies and trials come from untrusted programs, so all text is set as text, never as HTML. */
(() => {
  const POLL_MS = 1000, REPORT_MS = 3000, OVERVIEW_MS = 3000, SHOWN_PARAMETERS = 6;
  const KINDS = { running: "running", finished: "finished", stopped: "stopped", dropped: "not promoted", shadow: "would have been stopped", failed: "failed" };
  const { el, number, percent, count, plural, compare, shortNames } = Tables, { short } = Charts;
  const $ = (id) => document.getElementById(id);
  const report = $("report") ? JSON.parse($("report").textContent) : null; // null on the dashboard

  let study = null; // settings of the study that is shown
  let trials = new Map(); // name -> trial
  let visible = []; // the trials that pass the filters, best first
  let parameters = []; // those that differ between the trials
  let shortName = (name) => name; // of a trial, for columns
  let nEntries = 0, reportedEntries = -1, reportedAt = 0; // log entries shown: by the curves, and by the report below them, and when
  let chosen = { trial: null, epoch: 0 };
  let studies = [];
  const hidden = new Set(); // kinds of trials that the buttons hide
  const columnsOff = new Map(); // parameter -> whether the reader switched its column on or off

  const curves = new Charts.LearningCurves($("curves"), (trial, epoch) => choose(trial, epoch));
  const final = new Charts.Diagonal($("final"), { x: "predicted", y: "final" });
  const reliability = new Charts.Diagonal($("reliability"), { x: "stated", y: "share no better" }, [0, 1]);
  const parameterPanel = new Parameters.Panel($("parameters"), (trial) => choose(trial, trial.values.length));
  const fileName = (what) => () => `${study.name.replace(/[^\w.-]+/g, "_")}-${what}`;
  const trialTable = new Tables.Table($("trials"), { name: fileName("trials"), onRow: (row, trial) => {
    row.dataset.trial = trial.name;
    row.setAttribute("aria-selected", String(trial === chosen.trial));
  } });
  const stopTable = new Tables.Table($("stops"), { name: fileName("stops") });
  const calibrationTable = new Tables.Table($("calibration"), { name: fileName("calibration") });
  const serverTable = new Tables.Table($("server-table"), { name: () => "studies" });

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
  const setting = (value) => (typeof value === "number" ? number(value) : String(value));
  const configuration = (trial) => Object.entries(trial.configuration).map(([key, value]) => `${key}=${setting(value)}`).join(", ");
  const lastOf = (trial) => (trial.values.length ? trial.values[trial.values.length - 1] : null);

  // Trials.

  function kindOf(trial) {
    if (trial.stop && !trial.stop.acted_on) return "shadow"; // whatever became of it: the summary counts it so
    return trial.state;
  }

  function take(changed) {
    for (const trial of changed) {
      trial.kind = kindOf(trial);
      trials.set(trial.name, trial);
      if (chosen.trial && chosen.trial.name === trial.name) chosen.trial = trial;
    }
  }

  // Epochs in words, in the study's unit.
  const inUnit = (epoch) => count(curves.inUnit(epoch));
  const at = (epoch) => `${study.resource} ${inUnit(epoch)}`;
  const span = (epochs) => `${inUnit(epochs)} ${study.resource}${curves.inUnit(epochs) === 1 ? "" : "s"}`;

  /** The state of a trial in words, with the epoch of its last resume. */
  const stateOf = (trial) => KINDS[trial.kind] + (trial.resumed ? `, resumed at ${at(trial.resumed[trial.resumed.length - 1])}` : "");

  /** The best complete trial, and the running one that is ahead of it so far; null where there is none. */
  function leaders() {
    const sign = study.direction === "minimize" ? 1 : -1, best = { complete: null, running: null };
    for (const trial of trials.values()) {
      const isComplete = trial.values.length && (trial.state === "finished" || trial.n_epochs >= study.max_epochs);
      const kind = isComplete ? "complete" : trial.state === "running" && trial.values.length ? "running" : null;
      if (kind && (!best[kind] || sign * lastOf(trial) < sign * lastOf(best[kind]))) best[kind] = trial;
    }
    if (best.complete && best.running && sign * lastOf(best.running) >= sign * lastOf(best.complete)) best.running = null;
    return best;
  }

  function refilter() {
    const filter = Filter.of($("trial-filter").value, study, trials.values(), configuration), sign = study.direction === "minimize" ? 1 : -1;
    const rank = (trial) => (trial.values.length ? sign * lastOf(trial) : Infinity);
    visible = [...trials.values()].filter((trial) => !hidden.has(trial.kind) && filter.passes(trial)).sort((a, b) => rank(a) - rank(b));
    const best = leaders();
    curves.show(study, visible, best.complete || best.running);
    $("log-axis").setAttribute("aria-pressed", String(curves.isLog));
    $("shown").textContent = filter.problem || (visible.length === trials.size ? "" : `${count(visible.length)} of ${plural(trials.size, "trial")}`);
    $("shown").classList.toggle("problem", Boolean(filter.problem));
    if (chosen.trial && !visible.includes(chosen.trial)) chosen = { trial: null, epoch: 0 };
    parameters = Parameters.varying([...trials.values()]);
    shortName = shortNames([...trials.keys()], 30);
    listTrials();
    drawParameters();
    explainMarks();
    showBest(best);
    choose(chosen.trial, chosen.epoch);
  }

  /** By default the first few parameters have a column and an axis. */
  function isShown(name, i) { return columnsOff.has(name) ? columnsOff.get(name) : i < SHOWN_PARAMETERS; }
  const shownParameters = () => parameters.filter(({ name }, i) => isShown(name, i));

  function drawParameters() {
    parameterPanel.show(study, visible, parameters, new Set(shownParameters().map(({ name }) => name)), curves.isLog);
    parameterPanel.mark(chosen.trial);
  }

  /** What the marks in the chart are, of those that it has. */
  function explainMarks() {
    const has = (test) => visible.some(test), marks = [
      [curves.best && visible.includes(curves.best), "━", "", lastOf(curves.best || { values: [] }) !== null && curves.best && curves.best.state === "running" ? "the best so far" : "the best"],
      [has(({ stop }) => stop && stop.acted_on), "●", "in-stopped", "stopped"], [has(({ stop }) => stop && !stop.acted_on), "○", "in-shadow", "would have been stopped"],
      [has(({ kind }) => kind === "failed"), "×", "in-failed", "failed"], [has(({ resumed }) => resumed), "▶", "in-running", "resumed"],
    ];
    $("marks").replaceChildren(...marks.filter(([shown]) => shown).map(([, mark, color, text]) => el("span", {}, el("span", { className: color || "in-" + curves.best.kind, "aria-hidden": "true" }, mark), ` ${text}`)));
  }

  function showBest({ complete, running }) {
    const trial = complete || running;
    $("best").hidden = !trial || !Object.keys(trial.configuration).length;
    if (!$("best").hidden) {
      const name = el("button", { type: "button", className: "link", title: trial.name }, shortName(trial.name));
      name.addEventListener("click", () => choose(trial, trial.values.length));
      const own = parameters.length ? parameters.map((parameter) => parameter.name).filter((key) => key in trial.configuration) : Object.keys(trial.configuration);
      const text = own.slice(0, SHOWN_PARAMETERS).map((key) => `${key}=${setting(trial.configuration[key])}`).join(", "), more = own.length - SHOWN_PARAMETERS;
      $("best").replaceChildren(complete ? "Best configuration: " : "Best configuration so far: ", el("b", {}, text), more > 0 ? ` and ${plural(more, "other")}` : "", " (", name, ")");
    }
  }

  function choose(trial, epoch) {
    const other = trial !== chosen.trial;
    chosen = { trial, epoch: trial ? Math.max(1, Math.min(epoch || trial.values.length, trial.values.length)) : 0 };
    curves.point(trial, chosen.epoch);
    readOut();
    if (other) { markRow(); parameterPanel.mark(trial); }
  }

  function readOut() {
    const { trial, epoch } = chosen, box = $("readout");
    if (!trial) {
      box.replaceChildren(el("span", { className: "muted" }, trials.size ? "Point at a curve, or press the arrow keys, to see the prediction at each epoch; a click holds it." : "No trials yet."));
      return;
    }
    const item = (name, value) => el("span", {}, name + " ", el("b", {}, value));
    const end = curves.predicted(trial, epoch), parts = [el("span", {}, el("b", { title: trial.name }, short(trial.name, 60)), " ", el("span", { className: "in-" + trial.kind }, stateOf(trial)))];
    parts.push(item(`${study.resource} ${count(curves.epochOf(epoch))}:`, metric(trial.values[epoch - 1])));
    if (end) {
      const when = end.point === epoch ? "" : ` (at ${study.resource} ${count(end.epoch)})`;
      parts.push(item(end.target === study.max_epochs ? "predicted final value" : `predicted at ${at(end.target)}`, `${plusMinus(end.mean, end.sigma)}${when}`));
      if (end.probability !== null && end.probability !== undefined) parts.push(item("P(no better)", chance(end.probability)));
    } else parts.push(el("span", { className: "muted" }, `no prediction at this ${study.resource}`));
    if (trial.state !== "running") parts.push(item("ended at", metric(trial.values[trial.values.length - 1]) + ` after ${span(trial.n_epochs)}`));
    const text = configuration(trial), why = trial.stop && (epoch >= curves.pointOf(trial.stop.epoch) || trial.stop.acted_on) ? `${at(trial.stop.epoch).replace(/^./, (first) => first.toUpperCase())}: ${trial.stop.reason}` : epoch === trial.values.length ? trial.reason : "";
    parts.push(el("span", { className: "why small" }, [text, why].filter(Boolean).join(" · ")));
    box.replaceChildren(...parts);
  }

  // Tables.

  function listTrials() {
    const end = (trial) => curves.predicted(trial, trial.values.length), isPredicted = (trial) => trial.kind !== "finished" && end(trial) && end(trial).target === study.max_epochs;
    const own = shownParameters().map(({ name, isNumber }) => ({
      title: name, kind: isNumber ? "n" : "", hint: name, value: ({ configuration: of }) => of[name], show: ({ configuration: of }) => el("span", { title: setting(of[name] ?? "–") }, name in of ? short(setting(of[name]), 24) : "–"),
    }));
    trialTable.show([
      { title: "trial", kind: "trial", value: (trial) => trial.name, show: (trial) => el("span", { title: trial.name }, shortName(trial.name)) },
      { title: "state", value: stateOf, show: (trial) => el("span", { className: "in-" + trial.kind }, stateOf(trial)) },
      { title: `${study.resource}s`, kind: "n", value: (trial) => curves.inUnit(trial.n_epochs) },
      { title: `last ${study.metric}`, kind: "n", value: lastOf, show: (trial) => metric(lastOf(trial)) },
      { title: "predicted final", kind: "n", value: (trial) => (isPredicted(trial) ? end(trial).mean : null), show: (trial) => (isPredicted(trial) ? plusMinus(end(trial).mean, end(trial).sigma) : "–") },
      { title: "P(no better)", kind: "n", hint: "probability to end no better than the best", value: (trial) => (end(trial) ? end(trial).probability : null), show: (trial) => (end(trial) ? chance(end(trial).probability) : "–") },
      ...own,
    ], visible);
    const n = Math.min(trialTable.limit, visible.length);
    $("trials-note").textContent = visible.length > n ? `The best ${n} of ${count(visible.length)}, by last value.` : "Best first, by last value. Arrow keys choose a trial.";
    chooseColumns();
  }

  /** The boxes that say which parameters have a column and an axis; there are none where all have. */
  function chooseColumns() {
    $("columns").hidden = parameters.length < 2;
    const names = parameters.map(({ name }) => name);
    $("columns").querySelector("summary").textContent = `Parameters: ${shownParameters().length} of ${parameters.length}`;
    const box = $("columns-list");
    if (box.dataset.names === JSON.stringify(names)) return;
    box.dataset.names = JSON.stringify(names);
    box.replaceChildren(...names.map((name, i) => {
      const input = el("input", { type: "checkbox", checked: isShown(name, i) });
      input.addEventListener("change", () => { columnsOff.set(name, input.checked); listTrials(); drawParameters(); });
      return el("label", { title: name }, input, " ", short(name, 40));
    }));
  }

  function markRow() {
    for (const row of $("trials").querySelectorAll("tbody tr")) {
      row.setAttribute("aria-selected", String(chosen.trial !== null && row.dataset.trial === chosen.trial.name));
    }
  }

  /** What a decision to stop led to. */
  function effectOf(stop) {
    if (stop.resumed !== null) return [`resumed at ${at(stop.resumed)}`, "in-running"];
    return stop.acted_on ? ["stopped", "in-stopped"] : ["would stop", "in-shadow"];
  }

  function listStops(stops) {
    const hasChances = stops.some((stop) => stop.chance !== null), shadow = stops.some((stop) => !stop.acted_on);
    $("stops-panel").hidden = !stops.length;
    stopTable.show([
      { title: "trial", kind: "trial", value: (stop) => stop.trial, show: (stop) => el("span", { title: stop.trial }, shortName(stop.trial)) },
      { title: "effect", value: (stop) => effectOf(stop)[0], show: (stop) => { const [text, color] = effectOf(stop); return el("span", { className: color }, text); } },
      { title: study.resource, kind: "n", value: (stop) => curves.inUnit(stop.epoch) },
      ...(hasChances ? [{ title: "P(among the best)", kind: "n", value: (stop) => stop.chance, show: (stop) => percent(stop.chance, 2) }] : []),
      { title: "P(no better)", kind: "n", hint: "probability to end no better than the best", value: (stop) => stop.probability, show: (stop) => chance(stop.probability) },
      { title: "predicted", kind: "n", value: (stop) => stop.mean, show: (stop) => (stop.mean === null ? "–" : plusMinus(stop.mean, stop.sigma)) },
      { title: `${study.resource}s saved`, kind: "n", value: (stop) => curves.inUnit(stop.saved) },
      { title: "reason", kind: "reason", value: (stop) => stop.reason },
    ], stops);
    $("stops-note").textContent = `${plural(stops.length, "stop")}, latest first${shadow ? "; those that would have stopped a trial did not" : ""}.`;
  }

  function listCalibration(calibration) {
    const stated = percent(calibration.stated_coverage), heldOut = calibration.stages_held_out;
    const rows = calibration.stages.map((stage, i) => ({ ...stage, heldOut: heldOut ? heldOut[i] : null }));
    const inside = (stage) => (stage.n ? `${percent(stage.coverage)}  (${percent(stage.coverage_interval[0])} – ${percent(stage.coverage_interval[1])})` : "–");
    $("calibration-panel").hidden = !rows.some((stage) => stage.n);
    calibrationTable.show([
      { title: "observed", value: (stage) => stage.stage }, { title: "forecasts", kind: "n", value: (stage) => stage.n, show: (stage) => count(stage.n) },
      { title: "error (rms)", kind: "n", value: (stage) => stage.rmse, show: (stage) => metric(stage.rmse) },
      { title: `inside the ${stated} interval`, kind: "n", value: (stage) => stage.coverage, show: inside },
      { title: "last 40", kind: "n", value: (stage) => stage.recent_coverage, show: (stage) => percent(stage.recent_coverage) },
      { title: "beat the best", kind: "n", value: (stage) => (stage.n_with_probability ? stage.n_better : null) },
      { title: "expected to", kind: "n", value: (stage) => (stage.n_with_probability ? stage.expected_better : null), show: (stage) => (stage.n_with_probability ? stage.expected_better.toFixed(1) : "–") },
      { title: "Brier score", kind: "n", value: (stage) => stage.brier, show: (stage) => score(stage.brier) },
      { title: "expected Brier", kind: "n", value: (stage) => stage.expected_brier, show: (stage) => score(stage.expected_brier) },
      ...(heldOut ? [{ title: "held out: inside", kind: "n", value: (stage) => (stage.heldOut.n ? stage.heldOut.n_covered : null), show: (stage) => (stage.heldOut.n ? `${stage.heldOut.n_covered} of ${stage.heldOut.n}` : "–") }] : []),
    ], rows);
    $("calibration-note").textContent = calibration.sample + (!calibration.drift.warn && calibration.stages.some((stage) => stage.n >= 20) ? " No drift was found." : "");
    $("drift-rule").textContent = calibration.drift.rule;
  }

  // The report: figures, calibration, stops.

  /** The numbers on top: [name, value, what more to say]. */
  function figuresOf(summary) {
    const n = summary.n_trials, shadow = summary.shadow_stops, best = leaders();
    const nWould = [...trials.values()].filter((trial) => trial.kind === "shadow" && trial.state === "running").length;
    const running = n.running ? `${count(n.running)} running${nWould ? `, ${count(nWould)} of them would have been stopped` : ""}` : "";
    const figures = [["trials", count(Object.values(n).reduce((a, b) => a + b, 0)), running]];
    const would = [
      [study.shadow ? "would have saved" : "cost of holding out", inUnit(shadow.would_save_epochs), `${study.resource}s, ${percent(shadow.would_save_epochs / summary.epochs_trained)} of those trained`],
      ["would have been stopped", count(shadow.n), shadow.n_complete ? `best tenth of the ${count(shadow.n_complete)} that are complete: ${shadow.n_lost}` : "none of them is complete yet"],
    ];
    if (study.shadow && shadow.n) figures.push(...would);
    const trial = best.complete || best.running, ahead = best.complete && best.running ? `; ahead so far: ${shortName(best.running.name)}, ${metric(lastOf(best.running))} at ${at(best.running.n_epochs)}` : "";
    const where = trial ? shortName(trial.name) + (best.complete ? "" : `, at ${at(trial.n_epochs)}`) + ahead : "";
    figures.push([`best ${short(study.metric, 24)}${best.complete || !trial ? "" : " so far"}`, metric(trial ? lastOf(trial) : null), where], [`${study.resource}s trained`, inUnit(summary.epochs_trained), ""]);
    if (!study.shadow) figures.push([`${study.resource}s saved`, inUnit(summary.epochs_saved), summary.epochs_saved ? percent(summary.saved_share) + (summary.saved_note ? ` ${summary.saved_note}` : "") : ""]);
    if (summary.seed_noise) {
      const noise = summary.seed_noise, lost = noise.shadow_lost_best ? "a stop would have lost more" : "";
      figures.push(["seed noise", number(noise.deviation, 2), [`${plural(noise.n_ties, "other")} within it of the best`, lost].filter(Boolean).join("; ")]);
    }
    if (summary.n_resumed) figures.push(["resumed", count(summary.n_resumed), "after a stop"]);
    if (!study.shadow && shadow.n) figures.push(...would.reverse());
    return figures;
  }

  function showReport({ summary, calibration, stops }) {
    $("figures").replaceChildren(...figuresOf(summary).map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value + " ", el("small", {}, more)))));
    $("drift").hidden = !calibration.drift.warn;
    $("drift-found").replaceChildren(...calibration.drift.found.map((found) => el("p", {}, found.sentence)));
    listCalibration(calibration);
    listStops(stops);
    final.show(calibration.points.map(([stage, mean, , actual]) => ({ x: mean, y: actual, strength: 0.15 + 0.17 * stage, size: calibration.points.length > 800 ? 1.8 : 2.6 })), curves.isLog);
    $("final-note").textContent = `${plural(calibration.points.length, "forecast")} at five lengths of a curve; later ones are drawn stronger.`;
    reliability.show(calibration.reliability.map((bin) => ({ x: bin.mean_stated, y: bin.n_no_better / bin.n, low: bin.interval[0], high: bin.interval[1], strength: 1, size: 3.5 })));
    $("reliability-note").textContent = "P(no better than the value to beat), with the 95% confidence interval of the share observed.";
    $("final-panel").hidden = !calibration.points.length;
    $("reliability-panel").hidden = !calibration.reliability.length;
    const later = [stops.length || study.shadow ? null : "the stops once a trial was stopped", calibration.points.length ? null : "whether the predictions came true once trials with predictions are complete"].filter(Boolean);
    $("later").hidden = !later.length || report !== null;
    $("later").textContent = `Shown here later: ${later.join("; ")}.`;
    $("brackets-panel").hidden = !summary.brackets.length;
    listBrackets($("brackets"), summary.brackets);
    $("brackets-note").textContent = "For each rung: trials that reached its epoch, that train towards it, and that ended before it.";
    countStates();
  }

  function listBrackets(box, brackets) {
    box.replaceChildren(...brackets.map((bracket) => el("div", { className: "bracket" },
      el("div", {}, `Iteration ${bracket.iteration + 1}, s = ${bracket.s}`),
      el("div", { className: "rungs" }, ...bracket.rungs.map((rung) => {
        const of = Math.max(rung.planned || 0, rung.reached + rung.training + rung.stopped) || 1, parts = ["reached", "training", "stopped"];
        const bar = el("div", { className: "fill" }, ...parts.map((part) => { const made = el("i", { className: part }); made.style.width = `${(100 * rung[part]) / of}%`; return made; }));
        const words = [`${rung.reached}${rung.planned >= rung.reached ? " of " + rung.planned : ""} reached it`, rung.training ? `${rung.training} training` : "", rung.stopped ? `${rung.stopped} ended before` : ""].filter(Boolean).join(", ");
        return el("div", { className: "rung small" }, el("div", {}, study ? span(rung.epochs) : plural(rung.epochs, "epoch")), bar, el("div", { className: "muted" }, words));
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
    study = curves.study = about;
    $("nothing").hidden = true;
    $("study").hidden = false;
    $("name").textContent = study.name;
    document.title = `${study.name} · curvestop`;
    const settings = Object.entries(study.policy_settings).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
    $("about").textContent = `${study.metric}, ${study.direction}d over ${span(study.max_epochs)} · policy ${study.policy}${settings ? ` (${settings})` : ""} · predictor ${study.predictor}`;
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
    const rows = trialTable.shown, at = chosen.trial ? rows.indexOf(chosen.trial) + step : 0;
    const next = rows[Math.max(0, Math.min(rows.length - 1, at))];
    choose(next, next.values.length);
    const row = $("trials").querySelector("tr[aria-selected='true']");
    if (row) row.scrollIntoView({ block: "nearest" });
  });
  $("trials").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-trial]"), trial = row && trials.get(row.dataset.trial);
    if (trial) choose(trial, trial.values.length);
  });
  $("trial-filter").addEventListener("input", () => refilter());
  $("log-axis").addEventListener("click", () => { curves.logAxis = !curves.isLog; refilter(); if (report) showReport(report); else reportedEntries = -1; });

  // Studies.

  // A percent sign that somebody typed stands for itself.
  const wanted = () => location.hash.slice(1).replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
    try { return decodeURIComponent(bytes); } catch { return bytes; }
  });

  const isRunning = ({ n_trials }) => Boolean(n_trials.running);

  function listStudies() {
    const text = $("study-filter").value.toLowerCase();
    const shown = studies.filter((one) => one.name.toLowerCase().includes(text));
    $("studies").replaceChildren(...shown.map((one, i) => {
      const n = one.n_trials, total = Object.values(n).reduce((a, b) => a + b, 0);
      const words = `${plural(total, "trial")}${n.running ? `, ${count(n.running)} running` : ""}${one.shadow ? ", shadow mode" : ""}`;
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
    columnsOff.clear();
    curves.logAxis = null;
    $("states").replaceChildren();
    poll();
  }

  // Polling the dashboard's server.

  async function ask(path, parameters = {}) {
    const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { cache: "no-store" }).catch(() => {
      throw new Error("the dashboard has ended or cannot be reached; start it again: curvestop dashboard");
    });
    if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
    return answer.json();
  }

  let drawnAt = 0;
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
    // While a long log is read, drawing all that has come so far must not take the time of reading.
    if (changed && (!news.n_unread || fresh || Date.now() - drawnAt > POLL_MS)) {
      countStates();
      refilter();
      drawnAt = Date.now();
    }
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

  let liveAt = null; // when all was well for the last time
  const clock = (when) => when.toTimeString().slice(0, 5);

  function health(ok, text) {
    $("health-dot").className = "dot " + (ok ? "ok" : "bad");
    $("health-text").textContent = ok ? text : "not live";
    if (ok) liveAt = new Date();
    $("banner").hidden = ok;
    $("banner").textContent = ok ? "" : `Not live${liveAt ? ` since ${clock(liveAt)}` : ""}: ${text}. ${study ? "What is shown was read before that." : ""}`;
  }

  async function overview() {
    const state = await ask("/api/overview").catch((error) => health(false, error.message));
    if (!state) return;
    health(state.ok, state.ok ? `${state.address} answers in ${state.latency_ms.toFixed(0)} ms` : `${state.address}: ${state.problem}`);
    $("run").hidden = !state.run;
    if (state.run) showRun(state.run);
    if (!state.ok) return;
    const before = studies.length;
    studies = state.studies.sort((a, b) => Number(isRunning(b)) - Number(isRunning(a)) || compare(a.name, b.name));
    listStudies();
    showServer(state);
    if (!before && studies.length) poll();
  }

  function showRun(run) {
    $("run-title").textContent = `Run: ${run.name}`;
    $("run-note").textContent = run.problem || `${count(run.trained)} of ${count(run.planned)} planned epochs trained${run.over ? ", finished" : ""}. For each rung: configurations that reached its epoch, that train towards it, and that ended before it.`;
    listBrackets($("run-brackets"), run.brackets || []);
  }

  function showServer(state) {
    $("server").hidden = !state.studies.length;
    serverTable.show([
      { title: "study", kind: "trial", value: (one) => one.name }, { title: "trials", kind: "n", value: (one) => Object.values(one.n_trials).reduce((a, b) => a + b, 0) },
      { title: "running", kind: "n", value: (one) => one.n_trials.running || 0 },
      { title: "models of", kind: "n", value: (one) => one.n_fitted, show: (one) => (one.n_fitted ? plural(one.n_fitted, "curve") : "none yet") },
      { title: "fits", value: (one) => (one.fitted ? "up to date" : "being fitted") },
    ], state.studies);
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
