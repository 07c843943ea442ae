"use strict";
/* Parameters against results: which parameters differ, a scatter plot of one of them, and parallel coordinates of those that are shown. */
const Parameters = (() => {
  const { el, compare } = Tables, MOST_AXES = 8;

  /** The parameters that are not the same in all trials: [{name, isNumber, log, values (of names: those that occur)}], in natural order. */
  function varying(trials) {
    const seen = new Map();
    for (const { configuration } of trials) {
      for (const [name, value] of Object.entries(configuration)) {
        if (!seen.has(name)) seen.set(name, new Set());
        seen.get(name).add(value);
      }
    }
    return [...seen].filter(([name, values]) => values.size > 1 || trials.some(({ configuration }) => !(name in configuration)))
      .map(([name, values]) => {
        const all = [...values].sort(compare), isNumber = all.every((value) => typeof value === "number");
        return { name, isNumber, log: isNumber && Charts.isLogSpread(all), values: isNumber ? [] : all.map(String) };
      }).sort((a, b) => compare(a.name, b.name));
  }

  /** The place of a trial on a parameter's axis; null where it has no such parameter. */
  const placeOf = ({ name, isNumber, values }, { configuration }) =>
    !(name in configuration) ? null : isNumber ? configuration[name] : values.indexOf(String(configuration[name]));

  const namedTicks = ({ isNumber, values }) => (isNumber ? undefined : values.map((text, value) => ({ value, text })));
  const rangeOf = ({ isNumber, values }, places) => (isNumber ? null : [-0.5, Math.max(values.length, places.length ? 1 : 0) - 0.5]);

  const lastOf = (trial) => trial.values[trial.values.length - 1];

  /** The panel: onTrial(trial) is called for the trial under the pointer. */
  class Panel {
    constructor(root, onTrial) {
      [this.root, this.axis, this.trials] = [root, null, []];
      const chosen = (point) => { if (point) onTrial(point.trial); };
      this.select = root.querySelector("select");
      this.select.addEventListener("change", () => { this.axis = this.select.value; this.drawScatter(); });
      this.scatter = new Charts.Scatter(root.querySelector(".scatter"), chosen);
      this.parallel = new Charts.Parallel(root.querySelector(".parallel"), chosen);
    }

    /** trials: best first; parameters: of `varying`; shown: names of those with an axis. */
    show(study, trials, parameters, shown, isLog) {
      this.trials = trials.filter((trial) => trial.values.length && trial.kind !== "failed");
      [this.study, this.parameters, this.isLog] = [study, parameters, isLog];
      this.root.hidden = !parameters.length || this.trials.length < 2;
      if (this.root.hidden) return;
      if (!parameters.some(({ name }) => name === this.axis)) this.axis = parameters[0].name;
      const known = [...this.select.options].map(({ value }) => value).join("\n");
      if (known !== parameters.map(({ name }) => name).join("\n")) {
        this.select.replaceChildren(...parameters.map(({ name }) => el("option", { value: name, selected: name === this.axis }, Charts.short(name, 40))));
      }
      this.select.value = this.axis;
      this.drawScatter();
      this.drawParallel(parameters.filter(({ name }) => shown.has(name)).slice(0, MOST_AXES));
    }

    drawScatter() {
      const parameter = this.parameters.find(({ name }) => name === this.axis);
      const points = this.trials.map((trial) => ({ trial, x: placeOf(parameter, trial), y: lastOf(trial), kind: trial.kind })).filter(({ x, y }) => x !== null && (!this.isLog || y > 0));
      this.scatter.show(points, {
        x: { title: parameter.name, log: parameter.log, ticks: namedTicks(parameter), range: rangeOf(parameter, points) },
        y: { title: `last ${this.study.metric}`, log: this.isLog, range: this.range(points.map(({ y }) => y)) },
      });
    }

    /** A few diverged trials must not flatten all others: where the axis is linear, the worst twentieth may lie outside. */
    range(values) {
      if (this.isLog || values.length < 20) return null;
      const sorted = [...values].sort((a, b) => a - b), n = sorted.length, cut = Math.floor(n / 20);
      const [low, high] = this.study.direction === "minimize" ? [sorted[0], sorted[n - 1 - cut]] : [sorted[cut], sorted[n - 1]];
      const margin = 0.05 * (high - low || Math.abs(high) || 1);
      return [low - margin, high + margin];
    }

    drawParallel(parameters) {
      const best = Math.max(1, Math.ceil(this.trials.length / 10)), values = this.trials.map(lastOf), outer = this.range(values);
      const limits = (numbers) => { const [low, high] = [Math.min(...numbers), Math.max(...numbers)]; return low < high ? [low, high] : [low - 0.5, high + 0.5]; };
      const axes = parameters.map((parameter) => {
        const places = this.trials.map((trial) => placeOf(parameter, trial)).filter((place) => place !== null);
        return { title: parameter.name, log: parameter.log, ticks: namedTicks(parameter), range: rangeOf(parameter, places) || limits(places) };
      });
      const positive = this.isLog ? values.filter((value) => value > 0) : values, range = outer || limits(positive.length ? positive : [1]);
      axes.push({ title: this.study.metric, log: this.isLog, range });
      const inside = (value) => (this.isLog && !(value > 0) ? null : Math.max(range[0], Math.min(range[1], value)));
      const items = this.trials.map((trial, i) => ({ trial, kind: trial.kind, strong: i < best, places: [...parameters.map((parameter) => placeOf(parameter, trial)), inside(lastOf(trial))] }));
      this.parallel.show(axes, items);
    }

    mark(trial) {
      this.scatter.mark(this.scatter.points.find((point) => point.trial === trial) || null);
      this.parallel.mark(this.parallel.items.find((item) => item.trial === trial) || null);
    }
  }

  return { varying, Panel };
})();
