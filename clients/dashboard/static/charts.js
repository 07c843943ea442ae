"use strict";
/* Charts on canvas: learning curves with the prediction at the pointer, scatter plots, and parallel coordinates.
 * Charts draw and find what is under the pointer; all other text of a page is the page's own. */
const Charts = (() => {
  const NAMES = ["bg", "panel", "text", "muted", "line", "grid", "running", "finished", "stopped", "failed", "shadow", "dropped"];
  const TOP = 24, BOTTOM = 40, RIGHT = 14, LABEL_GAP = 7; // margins of the plot area, in pixels
  const INTERVAL_SIGMAS = 1.959964; // half width of the 95 % interval

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  }

  /** About n round numbers between low and high, multiples of 1, 2 or 5 times a power of ten, and the step between them. */
  function ticks(low, high, n) {
    const raw = (high - low) / n, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5, 10].find((m) => m * power >= raw) || 10);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return { found, step };
  }

  function label(value, step) {
    if (value === 0) return "0";
    if (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
    return value.toFixed(Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9))));
  }

  /** Ticks of a logarithmic axis with their labels: powers of ten, at most about n of them; with 2 and 5 between them where there is room. */
  function logTicks(low, high, n) {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const every = Math.max(1, Math.ceil((last - first) / n)), steps = 3 * (last - first) <= n ? [1, 2, 5] : [1];
    const found = [];
    for (let power = first; power <= last; power++) {
      if ((power - first) % every === 0) found.push(...steps.map((step) => step * 10 ** power));
    }
    return found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)).map((value) => ({ value, text: label(value, value) }));
  }

  /** An axis: its range, and whether it is logarithmic. `share` maps a value to its place in [0, 1]. */
  function scaleOf([low, high], log) {
    const size = log ? Math.log10 : (value) => value, [from, to] = [size(low), size(high)];
    return { low, high, log, share: (value) => (size(value) - from) / (to - from), value: (share) => (log ? 10 ** (from + share * (to - from)) : from + share * (to - from)) };
  }

  function ticksOf({ low, high, log }, n) {
    if (log) return logTicks(low, high, n);
    const { found, step } = ticks(low, high, n);
    return found.map((value) => ({ value, text: label(value, step) }));
  }

  const DECADES = 100; // an axis over more than two decades of positive values is logarithmic
  function isOverDecades(values) {
    let [low, high] = [Infinity, 0];
    for (const value of values) { if (!(value > 0)) return false; low = Math.min(low, value); high = Math.max(high, value); }
    return high > DECADES * low;
  }

  /** Whether parameters are drawn on a logarithmic axis: they spread over decades, and their median is nearer to the middle of it than of a linear one. */
  function isLogSpread(values) {
    if (!isOverDecades(values)) return false;
    const sorted = [...values].sort((a, b) => a - b), [low, median, high] = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted[sorted.length - 1]];
    const off = (share) => Math.abs(share - 0.5);
    return off(Math.log(median / low) / Math.log(high / low)) < off((median - low) / (high - low));
  }

  /** Text of at most n characters: the middle goes first, as names differ at both ends. */
  const short = (text, n) => (text.length <= n ? text : `${text.slice(0, Math.ceil((n - 1) / 2))}…${text.slice(text.length - Math.floor((n - 1) / 2))}`);

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

    /** Clear both canvases, set the scales and draw grid and labels.
     * x, y: axes of `scaleOf`. names: {x, y: axis titles, integers: whether x has ticks at integers only, xTicks: instead of numbers}. */
    frame(x, y, names) {
      const c = this.base, ink = (this.ink = colours());
      c.clearRect(0, 0, this.width, this.height);
      this.over.clearRect(0, 0, this.width, this.height);
      c.font = "12px system-ui, sans-serif";
      c.lineWidth = 1;
      const yTicks = ticksOf(y, Math.max(2, Math.floor(this.height / 60)));
      const left = LABEL_GAP + Math.ceil(Math.max(...yTicks.map(({ text }) => c.measureText(text).width), 10));
      const [right, top, bottom] = [this.width - RIGHT, TOP, this.height - BOTTOM];
      this.x = (value) => left + x.share(value) * (right - left);
      this.y = (value) => bottom - y.share(value) * (bottom - top);
      this.unx = (pixel) => x.value((pixel - left) / (right - left));
      this.area = { left, right, top, bottom };
      // For tests: the pixel at two values of each axis.
      this.box.dataset.scales = JSON.stringify({ x: { ...x, pixels: [this.x(x.low), this.x(x.high)] }, y: { ...y, pixels: [this.y(y.low), this.y(y.high)] } });
      c.textBaseline = "middle";
      for (const { value, text } of yTicks) {
        const at = Math.round(this.y(value)) + 0.5;
        c.strokeStyle = ink.grid;
        c.beginPath(); c.moveTo(left, at); c.lineTo(right, at); c.stroke();
        c.fillStyle = ink.muted;
        c.textAlign = "right";
        c.fillText(text, left - LABEL_GAP, at);
      }
      c.textAlign = "center";
      c.textBaseline = "alphabetic";
      let taken = -Infinity; // the right end of the last label: no two lie on each other
      for (const { value, text } of names.xTicks || ticksOf(x, Math.max(2, Math.floor((right - left) / 90)))) {
        if (names.integers && !Number.isInteger(value)) continue;
        const shown = short(text, Math.max(4, Math.floor(this.width / 40))), half = c.measureText(shown).width / 2;
        const at = Math.min(Math.max(this.x(value), half), this.width - half);
        if (at - half < taken + 6) continue;
        c.fillText(shown, at, bottom + 17);
        taken = at + half;
      }
      const room = Math.floor(this.width / 8);
      c.textAlign = "left";
      c.fillText(short(names.y, room), 0, 11);
      c.textAlign = "right";
      c.fillText(short(names.x, room), right, bottom + 34);
    }

    clip(context) {
      const { left, right, top, bottom } = this.area;
      context.save();
      context.beginPath();
      context.rect(left - 1, top - 4, right - left + RIGHT, bottom - top + 8);
      context.clip();
    }
  }

  function quantiles(numbers, low, high) {
    const values = Float64Array.from(numbers).sort(); // several times as fast as an array's
    return [values[Math.floor(low * (values.length - 1))], values[Math.ceil(high * (values.length - 1))]];
  }

  function padded([low, high], share) {
    const margin = (high - low || Math.abs(high) || 1) * share;
    return [low - margin, high + margin];
  }

  /** The range of an axis with a margin, in steps of the axis. */
  function paddedFor(range, share, log) {
    return log ? padded(range.map(Math.log10), share).map((value) => 10 ** value) : padded(range, share);
  }

  const ORDER = ["failed", "dropped", "finished", "stopped", "shadow", "running"]; // drawn one over the other

  /** Learning curves. trials: rows of trial_rows.py with their `kind`; onPoint(trial, point) is called for the point under the pointer: values are those of points 1, 2, ..., which epochOf maps to epochs.
   * A click holds the point, another lets it go. logAxis: true, false, or null for "where the values need it". */
  class LearningCurves {
    constructor(box, onPoint) {
      [this.trials, this.best, this.logAxis, this.held] = [[], null, null, false];
      this.study = { max_epochs: 1, max_resource: 1, resource: "epoch", n_points: 1, metric: "", direction: "maximize" };
      this.plot = new Plot(box, () => this.draw());
      const pointed = (event) => {
        const found = this.nearest(event.offsetX, event.offsetY);
        if (found) onPoint(found.trial, found.epoch);
      };
      box.addEventListener("pointermove", (event) => { if (!this.held) pointed(event); });
      box.addEventListener("pointerdown", (event) => {
        this.held = event.pointerType === "mouse" && !this.held;
        box.classList.toggle("held", this.held);
        pointed(event);
      });
    }

    /** As in curvestop.srm.grid: of a short training each epoch is a point. */
    epochOf(point) { return this.inUnit(Math.ceil(point * this.study.max_epochs / this.study.n_points)); }
    /** An epoch in the study's unit; see curvestop.srm.resource. */
    inUnit(epoch) { return Number((epoch * this.study.max_resource / this.study.max_epochs).toPrecision(9)); }
    pointOf(epoch) { return Math.floor(epoch * this.study.n_points / this.study.max_epochs); }

    /** trials: those to draw; best: the one to mark, or null. */
    show(study, trials, best = null) {
      [this.study, this.trials, this.best] = [study, trials, best];
      this.draw();
    }

    /** Of many trials a part stands for all, and of the others the last value. */
    sample() {
      const seen = [], every = Math.max(1, Math.floor(this.trials.length / 300));
      this.trials.forEach(({ values }, i) => { if (i % every === 0) seen.push(...values); else if (values.length) seen.push(values[values.length - 1]); });
      return seen;
    }

    /** Whether the values ask for a logarithmic axis: losses over decades; of what is maximized, the better half of the last values. */
    needsLog() {
      if (this.study.direction === "minimize") return isOverDecades(this.sample());
      const last = this.trials.filter((trial) => trial.values.length).map((trial) => trial.values[trial.values.length - 1]).sort((a, b) => a - b);
      return isOverDecades(last.slice(Math.floor(last.length / 2)));
    }

    get isLog() { return this.logAxis === null ? this.needsLog() : this.logAxis && this.sample().some((value) => value > 0); }

    /** The range of the value axis; diverging starts are cut off where the axis is linear. */
    range(log) {
      const seen = log ? this.sample().filter((value) => value > 0) : this.sample();
      if (!seen.length) return [0, 1];
      const share = log ? 0 : 0.03;
      return paddedFor(this.study.direction === "minimize" ? quantiles(seen, 0, 1 - share) : quantiles(seen, share, 1), 0.05, log);
    }

    draw() {
      const plot = this.plot, { max_epochs, max_resource, resource } = this.study;
      if (!plot || !plot.width) return;
      const log = this.isLog;
      plot.frame(scaleOf([this.inUnit(1), this.inUnit(Math.max(2, max_epochs))], false), scaleOf(this.range(log), log), { x: resource, y: this.study.metric, integers: max_epochs === max_resource });
      // The pixel of each point: the same for all curves.
      this.across = Array.from({ length: this.study.n_points + 1 }, (_, point) => plot.x(this.epochOf(point)));
      const c = plot.base, ink = plot.ink, many = this.trials.length;
      plot.clip(c);
      c.lineJoin = "bevel";
      const alpha = Math.max(0.07, Math.min(0.8, 3.2 / Math.sqrt(many + 1)));
      // More than one value per pixel cannot be seen.
      const stride = Math.max(1, Math.floor(this.study.n_points / (plot.area.right - plot.area.left)));
      for (const kind of ORDER) {
        c.strokeStyle = ink[kind];
        c.globalAlpha = Math.min(1, alpha * (kind === "running" || kind === "shadow" ? 2.5 : kind === "stopped" ? 1.5 : 1));
        c.lineWidth = kind === "running" ? 1.4 : 1;
        c.setLineDash(kind === "shadow" ? [5, 3] : []);
        for (const trial of this.trials) if (trial.kind === kind) this.line(c, trial.values, stride);
      }
      c.setLineDash([]);
      c.globalAlpha = 1;
      if (this.best && this.trials.includes(this.best)) {
        c.strokeStyle = ink[this.best.kind];
        c.lineWidth = 2.6;
        this.line(c, this.best.values, stride);
      }
      c.globalAlpha = many > 300 ? 0.7 : 1;
      for (const trial of this.trials) this.marks(c, trial, many > 300 ? 1.8 : 2.8);
      c.restore();
      c.globalAlpha = 1;
      if (this.pointed) this.point(...this.pointed);
    }

    /** A disc where a trial was stopped, a ring where it would have been, a cross where it failed, a triangle where it went on. */
    marks(c, trial, size) {
      const { plot } = this, { ink } = plot, n = trial.values.length;
      const place = (point) => (point >= 1 && point <= n ? [plot.x(this.epochOf(point)), plot.y(trial.values[point - 1])] : null);
      const stopped = trial.stop && place(this.pointOf(trial.stop.epoch)), failed = trial.kind === "failed" && place(n);
      const resumed = trial.resumed && place(Math.max(1, this.pointOf(trial.resumed[trial.resumed.length - 1] - 1)));
      c.lineWidth = 1.3;
      if (stopped) {
        c.beginPath(); c.arc(...stopped, size, 0, 7);
        c.fillStyle = c.strokeStyle = trial.stop.acted_on ? ink.stopped : ink.shadow;
        if (trial.stop.acted_on) c.fill(); else c.stroke();
      }
      if (failed) {
        const [x, y] = failed, half = size + 1;
        c.strokeStyle = ink.failed;
        c.beginPath(); c.moveTo(x - half, y - half); c.lineTo(x + half, y + half); c.moveTo(x - half, y + half); c.lineTo(x + half, y - half); c.stroke();
      }
      if (resumed) {
        const [x, y] = resumed;
        c.fillStyle = ink.running;
        c.beginPath(); c.moveTo(x - 3, y - 5); c.lineTo(x + 5, y); c.lineTo(x - 3, y + 5); c.fill();
      }
    }

    line(c, values, stride = 1) {
      if (!values.length) return;
      const { y } = this.plot, x = (point) => this.across[point], n = values.length;
      c.beginPath();
      c.moveTo(x(1), y(values[0]));
      for (let i = stride; i < n; i += stride) c.lineTo(x(i + 1), y(values[i]));
      if ((n - 1) % stride) c.lineTo(x(n), y(values[n - 1]));
      if (n === 1) { c.moveTo(x(1) - 3, y(values[0])); c.lineTo(x(1) + 6, y(values[0])); }
      c.stroke();
    }

    nearest(px, py) {
      const plot = this.plot;
      if (!plot.area || !this.trials.length) return null;
      const wanted = Math.max(1, Math.min(this.study.n_points, this.pointOf(Math.round(plot.unx(px) * this.study.max_epochs / this.study.max_resource))));
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

    /** Mark a point of a curve, and draw the prediction that was made there; nothing without a trial. */
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
      [this.points, this.log] = [[], false];
      [this.names, this.fixed] = [names, range];
      this.plot = new Plot(box, () => this.draw());
    }

    /** log: whether both axes are logarithmic, if all points are positive. */
    show(points, log = false) {
      this.points = points;
      this.log = log && points.every((p) => p.x > 0 && p.y > 0);
      this.draw();
    }

    draw() {
      const plot = this.plot;
      if (!plot || !plot.width) return;
      const all = this.points.flatMap((p) => [p.x, p.y]);
      const range = this.fixed || (all.length ? paddedFor(this.log ? quantiles(all, 0, 1) : quantiles(all, 0.01, 0.99), 0.06, this.log) : [0, 1]);
      plot.frame(scaleOf(range, this.log), scaleOf(range, this.log), this.names);
      const c = plot.base, ink = plot.ink;
      plot.clip(c);
      c.strokeStyle = ink.muted;
      c.setLineDash([3, 4]);
      c.beginPath(); c.moveTo(plot.x(range[0]), plot.y(range[0])); c.lineTo(plot.x(range[1]), plot.y(range[1])); c.stroke();
      c.setLineDash([]);
      for (const p of this.points) {
        c.fillStyle = c.strokeStyle = ink[p.kind || "finished"];
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

  /** Points of several kinds. points: [{x, y, kind, size, text (beside the point), line (name of a line that joins its points), ring, ...}]; onPoint(point) is called for the one under the pointer, or null. */
  class Scatter {
    constructor(box, onPoint) {
      [this.points, this.axes, this.chosen] = [[], null, null];
      this.plot = new Plot(box, () => this.draw());
      for (const kind of ["pointermove", "pointerdown"]) {
        box.addEventListener(kind, (event) => onPoint(this.nearest(event.offsetX, event.offsetY), event));
      }
      box.addEventListener("pointerleave", (event) => onPoint(null, event));
    }

    /** axes: {x, y: {title, range or null for that of the points, log, ticks}}. */
    show(points, axes) {
      [this.points, this.axes] = [points, axes];
      this.draw();
    }

    scale(key) {
      const axis = this.axes[key], values = this.points.map((point) => point[key]);
      const log = axis.log && values.every((value) => value > 0);
      const range = axis.range || (values.length ? paddedFor([Math.min(...values), Math.max(...values)], 0.05, log) : [0, 1]);
      return scaleOf(range, log);
    }

    draw() {
      const plot = this.plot;
      if (!plot || !plot.width || !this.axes) return;
      const { x, y } = this.axes;
      plot.frame(this.scale("x"), this.scale("y"), { x: x.title, y: y.title, xTicks: x.ticks });
      const c = plot.base, ink = plot.ink, at = ({ x: px, y: py }) => [plot.x(px), plot.y(py)];
      plot.clip(c);
      const lines = new Map();
      for (const point of this.points) if (point.line) lines.set(point.line, [...(lines.get(point.line) || []), point]);
      c.setLineDash([2, 3]);
      for (const members of lines.values()) {
        c.strokeStyle = ink[members[0].kind];
        c.beginPath(); members.forEach((point) => c.lineTo(...at(point))); c.stroke();
      }
      c.setLineDash([]);
      c.globalAlpha = Math.max(0.3, Math.min(0.9, 12 / Math.sqrt(this.points.length + 1)));
      for (const point of this.points) {
        c.fillStyle = c.strokeStyle = ink[point.kind];
        c.lineWidth = 1.4;
        c.beginPath(); c.arc(...at(point), point.size || 3.5, 0, 7);
        if (point.kind === "shadow") c.stroke(); else c.fill();
        if (point.ring) { c.lineWidth = 2; c.beginPath(); c.arc(...at(point), (point.size || 3.5) + 5, 0, 7); c.stroke(); }
      }
      c.restore();
      c.globalAlpha = 1;
      this.labels(c, ink, at);
      this.mark(this.chosen);
    }

    /** The texts beside the points, each where it lies on no other text, no point and inside the chart; without such a place it is left out. */
    labels(c, ink, at) {
      const { left, right, top, bottom } = this.plot.area, taken = this.points.map((point) => { const [x, y] = at(point); return [x - 5, y - 5, x + 5, y + 5]; });
      const isFree = (box) => box[0] >= left && box[2] <= right + RIGHT && box[1] >= top - 8 && box[3] <= bottom + 4 && taken.every((other) => box[2] <= other[0] || box[0] >= other[2] || box[3] <= other[1] || box[1] >= other[3]);
      c.font = "11.5px system-ui, sans-serif";
      c.textAlign = "left";
      c.textBaseline = "middle";
      const shown = [];
      for (const point of this.points.filter(({ text }) => text)) {
        const [x, y] = at(point), width = c.measureText(point.text).width, gap = (point.size || 3.5) + (point.ring ? 9 : 4);
        const places = [[x + gap, y], [x - gap - width, y], [x - width / 2, y - gap - 6], [x - width / 2, y + gap + 6], [x + gap, y - 11], [x + gap, y + 11], [x - gap - width, y - 11], [x - gap - width, y + 11]];
        const boxes = places.map(([px, py]) => [px, py - 6, px + width, py + 6]), own = boxes.find(isFree);
        if (!own) continue;
        taken.push(own);
        shown.push({ text: point.text, box: own });
        c.strokeStyle = ink.panel; c.lineWidth = 4; c.strokeText(point.text, own[0], (own[1] + own[3]) / 2); // so that it can be read before a line
        c.fillStyle = point.kind === "dropped" ? ink.muted : ink[point.kind];
        c.fillText(point.text, own[0], (own[1] + own[3]) / 2);
      }
      this.plot.box.dataset.labels = JSON.stringify(shown); // for tests
    }

    nearest(px, py) {
      if (!this.plot.area) return null;
      let [best, least] = [null, 20];
      for (const point of this.points) {
        const distance = Math.hypot(this.plot.x(point.x) - px, this.plot.y(point.y) - py);
        if (distance < least) [least, best] = [distance, point];
      }
      return best;
    }

    /** Mark a point; null for none. */
    mark(point) {
      const { plot } = this, c = plot.over;
      this.chosen = this.points.includes(point) ? point : null;
      c.clearRect(0, 0, plot.width, plot.height);
      if (!this.chosen || !plot.area) return;
      c.strokeStyle = plot.ink.text;
      c.lineWidth = 2;
      c.beginPath(); c.arc(plot.x(point.x), plot.y(point.y), (point.size || 3.5) + 3, 0, 7); c.stroke();
    }
  }

  /** Parallel coordinates: a line for each trial through its parameters and its value. onLine(item) is called for the line under the pointer. */
  class Parallel {
    constructor(box, onLine) {
      [this.axes, this.items, this.chosen] = [[], [], null];
      this.plot = new Plot(box, () => this.draw());
      for (const kind of ["pointermove", "pointerdown"]) {
        box.addEventListener(kind, (event) => { const found = this.nearest(event.offsetX, event.offsetY); if (found) onLine(found); });
      }
    }

    /** axes: [{title, log, ticks (of names), range}]; items: [{places (`(n_axes,)` numbers, null where there is none), kind, strong, ...}]. */
    show(axes, items) {
      [this.axes, this.items] = [axes, items];
      this.draw();
    }

    draw() {
      const { plot } = this;
      if (!plot || !plot.width || !this.axes.length) return;
      const c = plot.base, ink = (plot.ink = colours()), [top, bottom] = [30, plot.height - 12];
      c.clearRect(0, 0, plot.width, plot.height);
      c.font = "12px system-ui, sans-serif";
      const scales = this.axes.map((axis) => scaleOf(axis.range, axis.log)), side = 46, step = (plot.width - 2 * side) / Math.max(1, this.axes.length - 1);
      this.x = (i) => side + i * step;
      this.y = (i, value) => bottom - scales[i].share(value) * (bottom - top);
      const alpha = Math.max(0.08, Math.min(0.7, 4 / Math.sqrt(this.items.length + 1)));
      for (const strong of [false, true]) {
        for (const item of this.items.filter((one) => Boolean(one.strong) === strong)) {
          c.globalAlpha = strong ? Math.min(1, 2.5 * alpha) : 0.6 * alpha;
          c.lineWidth = strong ? 1.6 : 1;
          c.strokeStyle = strong ? ink.finished : ink.muted;
          this.path(c, item);
        }
      }
      c.globalAlpha = 1;
      c.lineWidth = 1;
      const room = Math.max(4, Math.floor(step / 8.5));
      this.axes.forEach((axis, i) => {
        c.strokeStyle = ink.line;
        c.beginPath(); c.moveTo(this.x(i), top); c.lineTo(this.x(i), bottom); c.stroke();
        c.fillStyle = ink.text;
        c.textAlign = i === 0 ? "left" : i === this.axes.length - 1 ? "right" : "center";
        c.fillText(short(axis.title, room), i === 0 ? 0 : i === this.axes.length - 1 ? plot.width : this.x(i), 12);
        c.fillStyle = ink.muted;
        c.textAlign = i === this.axes.length - 1 ? "left" : "right";
        for (const { value, text } of axis.ticks || ticksOf(scales[i], 5)) {
          const shown = short(text, Math.max(4, Math.min(Math.floor(step / 9), 16))), x = this.x(i) + (i === this.axes.length - 1 ? 5 : -5);
          const own = [i === 0 || i === this.axes.length - 1 ? short(text, 6) : shown, x, this.y(i, value) + 4];
          c.strokeStyle = ink.panel; c.lineWidth = 4; c.strokeText(...own); // so that it can be read before the lines
          c.fillText(...own);
          c.lineWidth = 1;
        }
      });
      this.mark(this.chosen);
    }

    path(c, item) {
      c.beginPath();
      let open = false;
      item.places.forEach((value, i) => {
        if (value === null) { open = false; return; }
        if (open) c.lineTo(this.x(i), this.y(i, value)); else c.moveTo(this.x(i), this.y(i, value));
        open = true;
      });
      c.stroke();
    }

    nearest(px, py) {
      if (!this.x) return null;
      const step = this.axes.length > 1 ? this.x(1) - this.x(0) : 1, at = Math.max(0, Math.min(this.axes.length - 1.001, (px - this.x(0)) / step)), i = Math.floor(at);
      let [best, least] = [null, 20];
      for (const item of this.items) {
        const [a, b] = [item.places[i], item.places[i + 1]];
        if (a === null || b === null || b === undefined) continue;
        const distance = Math.abs(this.y(i, a) + (at - i) * (this.y(i + 1, b) - this.y(i, a)) - py);
        if (distance < least) [least, best] = [distance, item];
      }
      return best;
    }

    /** Mark a line; null for none. */
    mark(item) {
      const { plot } = this, c = plot.over;
      this.chosen = this.items.includes(item) ? item : null;
      c.clearRect(0, 0, plot.width, plot.height);
      if (!this.chosen || !this.x) return;
      c.lineWidth = 5; c.strokeStyle = plot.ink.panel; this.path(c, item);
      c.lineWidth = 2.4; c.strokeStyle = plot.ink[item.kind]; this.path(c, item);
    }
  }

  return { LearningCurves, Diagonal, Scatter, Parallel, isOverDecades, isLogSpread, short };
})();
