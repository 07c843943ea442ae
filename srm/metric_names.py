"""`guess_direction`: whether higher or lower values of a metric are better, by the words of its name."""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from curvestop.srm.policies.stopping_rule import Direction

_log = logging.getLogger(__name__)

_LOWER_WORDS = """
    loss losses logloss mlogloss error errors err merror cost costs risk regret penalty violation violations gap distance dist
    divergence div deviance deviation residual residuals dissimilarity perplexity ppl bits bpb bpc bpd bpt nll nloglik
    crossentropy xentropy xent ce bce kl kld mse rmse nmse nrmse msle rmsle mae mape smape wape mase mdape rse rae epe ade fde
    mpjpe l1 l2 wer cer ter der eer far frr fpr fnr fid kid fad fvd lpips brier crps pinball winkler ece mce hinge huber logcosh
    wasserstein hausdorff hd chamfer emd bouldin aic bic miss misses misclassification mistakes incorrect wrong failure failures
    failed latency degradation
"""
_HIGHER_WORDS = """
    acc accuracy auc auroc rocauc roc auprc aupr prauc aucpr ap map f1 f2 fbeta fscore fmeasure precision recall sensitivity
    specificity tpr tnr ppv npv mcc matthews kappa gini jaccard iou miou dice r2 rsquared pearson pearsonr spearman spearmanr
    kendall corr correlation ndcg dcg mrr hit hits hitrate reward rewards return returns profit sharpe win wins winrate success
    successes solved correct pass match em bleu sacrebleu rouge rougel rougelsum meteor cider chrf comet spice bertscore psnr ssim
    snr sisnr sdr sisdr stoi pesq mos elbo likelihood loglikelihood loglik similarity silhouette nmi ari purity gain improvement
    throughput quality utility fitness
"""
_HEAD_WORDS = "loss losses error errors err cost costs risk regret penalty gap distance dist divergence degradation"
_LOWER, _HIGHER = frozenset(_LOWER_WORDS.split()), frozenset(_HIGHER_WORDS.split())
_WEAK = frozenset({"score", "scores", "top1", "top3", "top5", "top10"})
"""Higher is better, unless another word of the name says more: "brier_score", "top1_err"."""
_PAIRS = {
    ("cross", "entropy"): "crossentropy",  # entropy alone has no direction
    ("true", "positive"): "tpr",
    ("true", "negative"): "tnr",
    ("false", "positive"): "fpr",
    ("false", "negative"): "fnr",
    ("negative", "predictive"): "npv",
    ("win", "loss"): "winrate",
}
"""Two words that mean what one word means; a "negative" among them turns nothing round."""
_HEADS = frozenset(_HEAD_WORDS.split())
"""At the end of a name these make a quantity to minimize of any other: "dice_loss", "accuracy_gap"."""
_TURNS_NEXT = frozenset({"neg", "negative", "negated", "minus", "inverse", "inv"})
"""Before another word these turn its direction round: "neg_log_loss"."""
_TURNS_LAST = frozenset({"drop", "reduction", "decrease"})
"""After another word these turn its direction round: "accuracy_drop"."""
_CONDITIONS = frozenset({"at", "by", "of", "per", "when", "given", "for", "under", "vs"})
"""The words after these say where or how the metric was taken: "recall_at_fpr"."""
_GLUED = re.compile(r"^(?:val|valid|validation|train|training|test|dev|eval|macro|micro|mean|avg)(?=[a-z])")
"""The beginning of a word that is written together with a metric: "valloss"."""
_CAMEL_CASE = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")
_MINUS = re.compile(r"^\s*-|^\s*1\s*-\s*(?=(?:acc|auc|f1|iou|dice|ssim|precision|recall|r2|corr|cos))", re.I)
"""The minus of "-loss" and "1-auc", not that of "1-shot"."""
_OPPOSITE: dict[Direction, Direction] = {"maximize": "minimize", "minimize": "maximize"}


def guess_direction(metric: str, curves: Iterable[Sequence[float]] = ()) -> Direction | None:
    """Return the direction that the name of a metric implies.

    Whole words count, not letters within them. "neg", "negative" and "minus" turn a direction round. Of a path, the last part
    with a direction counts. A loss whose values are never above 0 is a negated one if most of its curves rise, so higher is
    better; if they fall, nobody can tell.

    Args:
        metric: Name of the metric, as people write it: "val_loss", "eval/top1_acc", "MeanSquaredError".
        curves: Values of the metric by run, in the order in which they were recorded. Default: not known.

    Returns:
        The direction; None if the name implies none, or both.

    Examples:
        >>> guess_direction("val_loss"), guess_direction("eval/top1_acc"), guess_direction("neg_log_loss")
        ('minimize', 'maximize', 'maximize')
        >>> guess_direction("loss", [[-0.9, -0.4]])
        'maximize'
        >>> guess_direction("objective") is None
        True
    """
    implied, is_negated = next((found for part in reversed(metric.split("/")) if (found := _implied(part))[0]), (set(), False))
    if len(implied) != 1:
        return None
    (direction,) = implied
    if direction == "minimize" and not is_negated and (known := _never_above_zero(curves)):
        n_rising = sum(curve[-1] > curve[0] for curve in known)
        return "maximize" if n_rising > len(known) / 2 else None
    return direction


@lru_cache(maxsize=1024)
def warn_of_direction(study: str, metric: str, direction: Direction) -> None:
    """Log a warning, once in a program, if the name of a metric implies another direction than the study has.

    Args:
        study: Name of the study.
        metric: Name of the metric.
        direction: Direction of the study.
    """
    implied = guess_direction(metric)
    if implied in (None, direction):
        return
    better = "lower" if implied == "minimize" else "higher"
    _log.warning("study %r is to %s %r; if %s is better, set direction=%r", *(study, direction, metric, better, implied))


def _never_above_zero(curves: Iterable[Sequence[float]]) -> list[list[float]]:
    """Return the finite values of each curve; nothing if one of them is above 0, or none is below."""
    known = [finite for curve in curves if (finite := [value for value in curve if math.isfinite(value)])]
    return known if all(max(its) <= 0 for its in known) and any(min(its) < 0 for its in known) else []


def _implied(name: str) -> tuple[set[Direction], bool]:
    """Return the directions that one part of a name implies, both if its words do not agree; and whether they were turned."""
    words = words_of(name)
    meaning = [word for word in words if word in _LOWER or word in _HIGHER] or [word for word in words if word in _WEAK]
    if not meaning:
        return set(), False
    # A condition counts only behind a metric: "number_of_errors" is about errors.
    end = next((i for i, word in enumerate(words) if word in _CONDITIONS and set(words[:i]) & set(meaning)), len(words))
    meaning = [word for word in words[:end] if word in meaning]
    first, last = words.index(meaning[0]), end - words[:end][::-1].index(meaning[-1])
    found: set[Direction] = {"minimize" if word in _LOWER else "maximize" for word in meaning}
    if meaning[-1] in _HEADS:
        found = {"minimize"}
    turns = sum(word in _TURNS_NEXT for word in words[:first]) + sum(word in _TURNS_LAST for word in words[last:end])
    return ({_OPPOSITE[direction] for direction in found}, True) if turns % 2 else (found, False)


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case; words about metrics without digits, and as one word where people write two.

    Args:
        name: The name, in snake case, camel case or with any signs between words.

    Examples:
        >>> words_of("val/crossEntropy@10"), words_of("test_acc1")
        (['val', 'crossentropy', 'at', '10'], ['test', 'acc'])
    """
    words: list[str] = []
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()  # without accents
    for part in re.findall(r"[A-Za-z0-9]+", _MINUS.sub("minus ", name).replace("@", " at ")):
        # "mAP50" is one word, "valLoss" is two.
        whole = _known(part.lower())
        for word in [whole] if whole else [_known(piece.lower()) or piece.lower() for piece in _CAMEL_CASE.findall(part)]:
            pair = _PAIRS.get((words[-1], word)) if words else None
            words[-1 if pair else len(words) :] = [pair or word]
    return words


def _known(word: str) -> str | None:
    """Return the spelling of a word in the lists above: without digits at its end, or what is glued to its beginning."""
    spellings = (word, word.rstrip("0123456789"), _GLUED.sub("", word))
    return next((it for it in spellings if it in _LOWER or it in _HIGHER or it in _WEAK), None)
