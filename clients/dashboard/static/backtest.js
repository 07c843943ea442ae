"use strict";
/* The page of a backtest. Names of runs come from the user's files, so all text is set as text, never as HTML. */
(() => {
  const { el, number } = Tables, $ = (id) => document.getElementById(id);
  const report = JSON.parse($("report").textContent);

  document.title = `Backtest of ${report.metric}`;
  $("about").replaceChildren(...report.about.map((line) => el("p", {}, line)));
  $("default").textContent = report.orders;
  $("figures").replaceChildren(...report.figures.map(([value, name]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  $("conclusions").replaceChildren(...report.conclusions.map((line) => el("p", {}, line)));

  const [head, ...rows] = report.table;
  $("table").replaceChildren(
    el("thead", {}, el("tr", {}, ...head.map((title, i) => el("th", { className: i ? "n" : "" }, title)))),
    el("tbody", {}, ...rows.map((cells) => el("tr", { className: cells[0].endsWith(" *") ? "chosen" : "" }, ...cells.map((cell, i) => el("td", { className: i ? "n" : "" }, cell))))),
  );
  $("meanings").textContent = report.meanings;

  const legend = (box, names) => box.replaceChildren(...names.map(([kind, name]) => el("span", {}, el("span", { className: "in-" + kind, "aria-hidden": "true" }, "●"), ` ${name}`)));

  /** A scatter whose point under the pointer is said in words below it. */
  function scatter(box, readout, points, axes) {
    const say = (lines) => readout.replaceChildren(...lines.map((line, i) => el("span", {}, i ? line : el("b", {}, line))));
    const chart = new Charts.Scatter(box, (point) => {
      chart.mark(point);
      if (point) say(point.words);
    });
    readout.replaceChildren(el("span", { className: "muted" }, "Point at a mark to see its numbers."));
    chart.show(points, axes);
  }

  scatter($("tradeoff"), $("tradeoff-readout"), report.tradeoff.points, { x: { title: "share of epochs saved", range: [0, 1] }, y: { title: "share of the top tenth stopped", range: [-0.04, 1.04] } });
  legend($("tradeoff-marks"), report.tradeoff.kinds);
  scatter($("calibration"), $("calibration-readout"), report.calibration.points, { x: { title: "stated", range: [0, 1] }, y: { title: "came true", range: [-0.02, 1.04] } });
  legend($("calibration-marks"), report.calibration.kinds);
  $("calibration-panel").hidden = report.calibration.kinds.length === 0;

  $("stops-title").textContent = report.curves.title;
  const curves = new Charts.LearningCurves($("curves"), (trial, epoch) => {
    curves.point(trial, epoch);
    const at = Math.min(epoch, trial.values.length), words = [`epoch ${curves.epochOf(at)}: ${number(trial.values[at - 1])}`, `final value ${trial.final === null ? "not known" : number(trial.final)}`];
    $("curves-readout").replaceChildren(el("b", {}, trial.name), ...words.map((text) => el("span", {}, text)), el("span", { className: "why small" }, trial.stop ? `Stopped after epoch ${trial.stop.epoch}: ${trial.stop.reason}` : "Trained to the end."));
  });
  $("curves-readout").replaceChildren(el("span", { className: "muted" }, "Point at a curve; a click holds it."));
  const { trials } = report.curves;
  curves.show(report.curves.study, trials, trials.find((trial) => trial.name === report.curves.best) || null);
  legend($("stops-marks"), [["finished", "trained to the end; the best is the thick one"], ["stopped", "stopped"]]);
})();
