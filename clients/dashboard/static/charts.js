"use strict";
/* Two charts on canvas: learning curves with the prediction at the pointer, and a scatter plot about a diagonal.
 * Charts draw and find what is under the pointer; all text on the page is page.js's. */
const Charts = (() => {
  const NAMES = ["bg", "panel", "text", "muted", "line", "grid", "running", "finished", "stopped", "failed", "shadow"];
  const TOP = 24, BOTTOM = 40, RIGHT = 14, LABEL_GAP = 7; // margins of the plot area, in pixels
  const INTERVAL_SIGMAS = 1.959964; // half width of the 95 % interval

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  }

  /** About n round numbers between low and high: multiples of 1, 2 or 5 times a power of ten. */
  function ticks(low, high, n) {
    const raw = (high - low) / n, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5, 10].find((m) => m * power >= raw) || 10);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found;
  }

  function label(value, step) {
    if (value === 0) return "0";
    if (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4) return value.toExponential(1);
    return value.toFixed(Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9))));
  }

  /** Two canvases in a box: the base for the chart, and one over it for the pointer, so that pointing does not redraw the chart.
   * `draw` is called when the size of the box or the theme changes. */
  class Plot {
    constructor(box, draw) {
      this.box = box;
      this.draw = draw;
      [this.base, this.over] = [0, 1].map(() => box.appendChild(document.createElement("canvas")).getContext("2d"));
      new ResizeObserver(() => this.resize()).observe(box);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      this.resize();
    }

    resize() {
      const ratio = window.devicePixelRatio || 1;
      [this.width, this.height] = [this.box.clientWidth, this.box.clientHeight];
      for (const context of [this.base, this.over]) {
        context.canvas.width = Math.round(this.width * ratio);
        context.canvas.height = Math.round(this.height * ratio);
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
      }
      if (this.width && this.height) this.draw();
    }

    /** Clear both canvases, set the scales from the ranges x and y, and draw grid and labels.
     * names: {x, y: axis titles, integers: whether x has ticks at integers only}. */
    frame(x, y, names) {
      const c = this.base, ink = (this.ink = colours());
      c.clearRect(0, 0, this.width, this.height);
      this.over.clearRect(0, 0, this.width, this.height);
      c.font = "12px system-ui, sans-serif";
      c.lineWidth = 1;
      const yTicks = ticks(y[0], y[1], Math.max(2, Math.floor(this.height / 60)));
      const yLabels = yTicks.map((value) => label(value, yTicks[1] - yTicks[0] || 1));
      const left = LABEL_GAP + Math.ceil(Math.max(...yLabels.map((text) => c.measureText(text).width), 10));
      const [right, top, bottom] = [this.width - RIGHT, TOP, this.height - BOTTOM];
      this.x = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (right - left);
      this.y = (value) => bottom - ((value - y[0]) / (y[1] - y[0])) * (bottom - top);
      this.unx = (pixel) => x[0] + ((pixel - left) / (right - left)) * (x[1] - x[0]);
      this.area = { left, right, top, bottom };
      const scale = (to) => [to(0), to(1) - to(0)];
      this.box.dataset.scales = JSON.stringify({ x: scale(this.x), y: scale(this.y) }); // for tests: the pixel of 0, and pixels per unit
      c.textBaseline = "middle";
      yTicks.forEach((value, i) => {
        const at = Math.round(this.y(value)) + 0.5;
        c.strokeStyle = ink.grid;
        c.beginPath(); c.moveTo(left, at); c.lineTo(right, at); c.stroke();
        c.fillStyle = ink.muted;
        c.textAlign = "right";
        c.fillText(yLabels[i], left - LABEL_GAP, at);
      });
      c.textAlign = "center";
      c.textBaseline = "alphabetic";
      const xTicks = ticks(x[0], x[1], Math.max(2, Math.floor((right - left) / 90))).filter((value) => !names.integers || Number.isInteger(value));
      for (const value of xTicks) c.fillText(label(value, xTicks[1] - xTicks[0] || 1), this.x(value), bottom + 17);
      c.textAlign = "left";
      c.fillText(names.y, 0, 11);
      c.textAlign = "right";
      c.fillText(names.x, right, bottom + 34);
    }

    clip(context) {
      const { left, right, top, bottom } = this.area;
      context.save();
      context.beginPath();
      context.rect(left - 1, top - 4, right - left + RIGHT, bottom - top + 8);
      context.clip();
    }
  }

  function quantiles(values, low, high) {
    values.sort((a, b) => a - b);
    return [values[Math.floor(low * (values.length - 1))], values[Math.ceil(high * (values.length - 1))]];
  }

  function padded([low, high], share) {
    const margin = (high - low || Math.abs(high) || 1) * share;
    return [low - margin, high + margin];
  }

  /** Learning curves. trials: rows of trial_rows.py with their `kind`; onPoint(trial, point) is called for the point under the pointer: values are those of points 1, 2, ..., which epochOf maps to epochs. */
  class LearningCurves {
    constructor(box, onPoint) {
      this.trials = [];
      this.study = { max_epochs: 1, n_points: 1, metric: "", direction: "maximize" };
      this.plot = new Plot(box, () => this.draw());
      box.addEventListener("pointermove", (event) => {
        const found = this.nearest(event.offsetX, event.offsetY);
        if (found) onPoint(found.trial, found.epoch);
      });
      box.addEventListener("pointerdown", (event) => {
        const found = this.nearest(event.offsetX, event.offsetY);
        if (found) onPoint(found.trial, found.epoch);
      });
    }

    /** As in curvestop.srm.grid: of a short training each epoch is a point. */
    epochOf(point) { return Math.ceil(point * this.study.max_epochs / this.study.n_points); }
    pointOf(epoch) { return Math.floor(epoch * this.study.n_points / this.study.max_epochs); }

    show(study, trials) {
      [this.study, this.trials] = [study, trials];
      this.draw();
    }

    /** The range of the value axis; diverging starts are cut off, and of many trials a sample is enough. */
    range() {
      const seen = [], every = Math.max(1, Math.floor(this.trials.length / 300));
      this.trials.forEach((trial, i) => { if (i % every === 0 || trial.values.length === this.study.n_points) seen.push(...trial.values); });
      if (!seen.length) return [0, 1];
      return padded(this.study.direction === "minimize" ? quantiles(seen, 0, 0.97) : quantiles(seen, 0.03, 1), 0.05);
    }

    draw() {
      const plot = this.plot, last = this.study.max_epochs;
      if (!plot || !plot.width) return;
      plot.frame([1, Math.max(2, last)], this.range(), { x: "epoch", y: this.study.metric, integers: true });
      const c = plot.base, ink = plot.ink, many = this.trials.length;
      plot.clip(c);
      c.lineJoin = "bevel";
      const alpha = Math.max(0.16, Math.min(0.8, 14 / Math.sqrt(many + 1) / 4 + 0.05));
      // More than one value per pixel cannot be seen.
      const stride = Math.max(1, Math.floor(this.study.n_points / (plot.area.right - plot.area.left)));
      for (const kind of ["finished", "stopped", "failed", "shadow", "running"]) {
        c.strokeStyle = ink[kind];
        c.globalAlpha = Math.min(1, alpha * (kind === "running" || kind === "shadow" ? 2 : kind === "stopped" ? 1.4 : 1));
        c.lineWidth = kind === "running" ? 1.4 : 1;
        for (const trial of this.trials) if (trial.kind === kind) this.line(c, trial.values, stride);
      }
      const size = many > 300 ? 1.8 : 2.8;
      c.globalAlpha = many > 300 ? 0.7 : 1;
      for (const { values, stop } of this.trials) {
        const at = stop ? this.pointOf(stop.epoch) : 0;
        if (at < 1 || at > values.length) continue;
        c.beginPath();
        c.arc(plot.x(this.epochOf(at)), plot.y(values[at - 1]), size, 0, 7);
        c.fillStyle = c.strokeStyle = stop.acted_on ? ink.stopped : ink.shadow;
        if (stop.acted_on) c.fill(); else c.stroke();
      }
      c.restore();
      c.globalAlpha = 1;
      if (this.pointed) this.point(...this.pointed);
    }

    line(c, values, stride = 1) {
      if (!values.length) return;
      const { y } = this.plot, x = (point) => this.plot.x(this.epochOf(point)), n = values.length;
      c.beginPath();
      c.moveTo(x(1), y(values[0]));
      for (let i = stride; i < n; i += stride) c.lineTo(x(i + 1), y(values[i]));
      if ((n - 1) % stride) c.lineTo(x(n), y(values[n - 1]));
      if (n === 1) c.lineTo(x(1) + 3, y(values[0]));
      c.stroke();
    }

    nearest(px, py) {
      const plot = this.plot;
      if (!plot.area || !this.trials.length) return null;
      const wanted = Math.max(1, Math.min(this.study.n_points, this.pointOf(Math.round(plot.unx(px)))));
      let best = null, least = Infinity;
      for (const trial of this.trials) {
        const epoch = Math.min(wanted, trial.values.length);
        if (!epoch) continue;
        // Curves that end before the pointed epoch count as farther away, by twice the horizontal distance.
        const across = epoch === wanted ? 0 : plot.x(this.epochOf(wanted)) - plot.x(this.epochOf(epoch));
        const distance = Math.abs(plot.y(trial.values[epoch - 1]) - py) + 2 * across;
        if (distance < least) [least, best] = [distance, { trial, epoch }];
      }
      return best;
    }

    /** The last prediction at or before an epoch: {point, epoch, mean, sigma, probability, target}; null without any. */
    predicted(trial, epoch) {
      for (let e = epoch; e >= 1; e--) {
        if (trial.means[e - 1] !== null && trial.means[e - 1] !== undefined) {
          return { point: e, epoch: this.epochOf(e), mean: trial.means[e - 1], sigma: trial.sigmas[e - 1], probability: trial.probabilities[e - 1], target: trial.target_epochs ? trial.target_epochs[e - 1] : this.study.max_epochs };
        }
      }
      return null;
    }

    /** Mark a point of a curve, and draw the prediction that was made there. */
    point(trial, epoch) {
      const plot = this.plot, c = plot.over;
      this.pointed = trial && this.trials.includes(trial) ? [trial, Math.min(epoch, trial.values.length)] : null;
      c.clearRect(0, 0, plot.width, plot.height);
      if (!this.pointed || !this.pointed[1] || !plot.area) return;
      const ink = plot.ink, at = this.pointed[1], [x, y] = [plot.x(this.epochOf(at)), plot.y(trial.values[at - 1])];
      const { top, bottom } = plot.area;
      c.strokeStyle = ink.line;
      c.lineWidth = 1;
      c.beginPath(); c.moveTo(Math.round(x) + 0.5, top); c.lineTo(Math.round(x) + 0.5, bottom); c.stroke();
      plot.clip(c);
      c.lineJoin = "round";
      c.strokeStyle = ink.panel; c.lineWidth = 5; this.line(c, trial.values);
      c.strokeStyle = ink[trial.kind]; c.lineWidth = 2.2; this.line(c, trial.values);
      const end = this.predicted(trial, at);
      if (end) this.interval(c, plot, x, y, end, ink);
      c.restore();
      c.beginPath(); c.arc(x, y, 4.5, 0, 7);
      c.fillStyle = ink[trial.kind]; c.fill();
      c.strokeStyle = ink.panel; c.lineWidth = 1.5; c.stroke();
    }

    interval(c, plot, x, y, end, ink) {
      const px = plot.x(end.target), mean = plot.y(end.mean);
      const [low, high] = [end.mean - INTERVAL_SIGMAS * end.sigma, end.mean + INTERVAL_SIGMAS * end.sigma].map(plot.y);
      c.fillStyle = ink.text; c.globalAlpha = 0.07;
      c.beginPath(); c.moveTo(x, y); c.lineTo(px, low); c.lineTo(px, high); c.fill();
      c.globalAlpha = 1;
      c.strokeStyle = ink.text; c.lineWidth = 1.2;
      c.setLineDash([4, 4]);
      c.beginPath(); c.moveTo(x, y); c.lineTo(px, mean); c.stroke();
      c.setLineDash([]);
      c.lineWidth = 1.6;
      c.beginPath(); c.moveTo(px, low); c.lineTo(px, high);
      for (const cap of [low, high]) { c.moveTo(px - 5, cap); c.lineTo(px + 5, cap); }
      c.stroke();
      c.beginPath(); c.arc(px, mean, 3.5, 0, 7); c.fillStyle = ink.text; c.fill();
    }
  }

  /** A scatter plot about the diagonal, where predicted and actual values agree. points: [{x, y, low, high, strength in (0, 1], size}]; range: that of both axes, else of the points. */
  class Diagonal {
    constructor(box, names, range = null) {
      this.points = [];
      [this.names, this.fixed] = [names, range];
      this.plot = new Plot(box, () => this.draw());
    }

    show(points) {
      this.points = points;
      this.draw();
    }

    draw() {
      const plot = this.plot;
      if (!plot || !plot.width) return;
      const all = this.points.flatMap((p) => [p.x, p.y]);
      const range = this.fixed || (all.length ? padded(quantiles(all, 0.01, 0.99), 0.06) : [0, 1]);
      plot.frame(range, range, this.names);
      const c = plot.base, ink = plot.ink;
      plot.clip(c);
      c.strokeStyle = ink.muted;
      c.setLineDash([3, 4]);
      c.beginPath(); c.moveTo(plot.x(range[0]), plot.y(range[0])); c.lineTo(plot.x(range[1]), plot.y(range[1])); c.stroke();
      c.setLineDash([]);
      c.fillStyle = c.strokeStyle = ink.finished;
      for (const p of this.points) {
        c.globalAlpha = p.strength;
        if (p.low !== undefined) {
          c.lineWidth = 1.5;
          c.beginPath(); c.moveTo(plot.x(p.x), plot.y(p.low)); c.lineTo(plot.x(p.x), plot.y(p.high)); c.stroke();
        }
        c.beginPath(); c.arc(plot.x(p.x), plot.y(p.y), p.size, 0, 7); c.fill();
      }
      c.restore();
      c.globalAlpha = 1;
    }
  }

  return { LearningCurves, Diagonal };
})();
