"use strict";
/* The filter of trials, as in "cnn lr<0.01 failed": words found in the name or the configuration, states, and comparisons with a parameter, with
 * the metric's last value or with "epochs"; all must hold. */
const Filter = (() => {
  const OPERATORS = { "=": (a, b) => a === b, "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b };

  /** What a comparison may be with: lower-case name -> the value of a trial; undefined where it has none. */
  function keysOf(study, trials) {
    const keys = new Map([["epochs", (trial) => trial.n_epochs], [study.metric.toLowerCase(), (trial) => trial.values[trial.values.length - 1]]]);
    for (const { configuration } of trials) {
      for (const name of Object.keys(configuration).sort()) if (!keys.has(name.toLowerCase())) keys.set(name.toLowerCase(), (trial) => trial.configuration[name]);
    }
    return keys;
  }

  function comparison(word, keys) {
    const [, key, operator, wanted] = word.match(/^(.+?)(<=|>=|=|<|>)(.*)$/), value = keys.get(key);
    if (!value) {
      const known = [...keys.keys()];
      return { problem: `no parameter ${key}; there are ${known.slice(0, 8).join(", ")}${known.length > 8 ? " and others" : ""}` };
    }
    if (!wanted) return { passes: () => true }; // somebody is still typing
    const number = Number(wanted);
    if (operator !== "=" && isNaN(number)) return { problem: `${word}: ${wanted} is not a number` };
    return { passes: (trial) => {
      const own = value(trial);
      return typeof own === "number" && !isNaN(number) ? OPERATORS[operator](own, number) : operator === "=" && own !== undefined && String(own).toLowerCase() === wanted;
    } };
  }

  /** Returns {passes(trial), problem: a sentence, or "" if every word was understood}. textOf(trial): its configuration as text. */
  function of(text, study, trials, textOf) {
    const words = text.toLowerCase().replace(/\s*(<=|>=|=|<|>)\s*/g, "$1").split(/\s+/).filter(Boolean);
    const keys = keysOf(study, trials);
    const tests = words.map((word) => {
      if (/^.+?[<>=]/.test(word)) return comparison(word, keys);
      return { passes: (trial) => trial.kind === word || (word === "resumed" && Boolean(trial.resumed)) || trial.name.toLowerCase().includes(word) || textOf(trial).toLowerCase().includes(word) };
    });
    const problem = (tests.find((test) => test.problem) || { problem: "" }).problem;
    return { problem, passes: (trial) => !problem && tests.every((test) => test.passes(trial)) };
  }

  return { of };
})();
