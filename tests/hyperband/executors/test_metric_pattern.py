"""What a pattern finds in a line, with the values written by hand."""

from __future__ import annotations

import math

import pytest

from curvestop.hyperband.executors.metric_pattern import MetricFinder, MetricPattern, names_in, number_of
from curvestop.hyperband.executors.train_command import METRIC_LINE


def value(pattern: str, line: str) -> float | None:
    found = MetricPattern(pattern).find(line)
    return None if found is None else number_of(found.text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("val_acc=0.29", 0.29),
        ("epoch 3 val_acc=0.29, loss=1.5", 0.29),
        # What `[0-9.]+` does not match, or only in part.
        ("val_acc=-0.29", -0.29),
        ("val_acc=2.9e-01", 0.29),
        ("val_acc=0,2900", 0.29),
        ("val_acc=93,1;loss=0,2", 93.1),
        ("val_acc=93.1%", 93.1),
        ("val_acc=0.29,0.30", 0.29),
        ("val_acc=93,12,5", 93.0),  # a row of a table
        ("val_acc=-inf", -math.inf),
        # Colours, anywhere.
        ("\x1b[1m\x1b[32mval_acc\x1b[0m=\x1b[36m0.2900\x1b[0m", 0.29),
        ("\x1b[38;5;208mval_acc=0.29\x1b[0m", 0.29),
        # The name written another way.
        ('"val_acc": 0.29,', 0.29),
        ('{"epoch": 1, "val_acc": 0.29}', 0.29),
        ("{'val_acc': 0.29, 'loss': 1.5}", 0.29),
        ('"val_acc": "0.29"', 0.29),
        ("val_acc: 0.29", 0.29),
        ("val_acc = 0.29", 0.29),
        ("val_acc 0.29", 0.29),
        ("│      val_acc      │      0.29      │", 0.29),
        ("val_acc=tensor(0.29)", 0.29),
        ("val_acc: tensor(0.2900, device='cuda:0')", 0.29),
        ("val_acc=tensor([0.29])", 0.29),
        ("val_acc=np.float32(0.29)", 0.29),
        ("val_acc=array([0.29], dtype=float32)", 0.29),
        ("val_acc: <tf.Tensor: shape=(), dtype=float32, numpy=0.29>", 0.29),
        ("val_acc=Decimal('0.29')", 0.29),
        ("val_acc=\u22120,29", -0.29),
        # What does not say which number is meant.
        ("val_acc: [0.29, 0.3]", None),
        ("val_acc 1/20", None),
        ("val_acc: 3it/s", None),
        ("val_acc did not improve from 0.29", None),
        ("best_val_acc: 0.29", None),
        ("val_acc: None", None),
        ("val_acc: infinite", None),
        ("loss=0.29", None),
    ],
)
def test_the_number_after_a_name(line: str, expected: float | None) -> None:
    assert value("val_acc=([0-9.]+)", line) == expected


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        (METRIC_LINE, "metric=0.29", 0.29),
        (METRIC_LINE, "metric: tensor(0.29, device='cuda:0')", 0.29),
        (METRIC_LINE, '{"metric": 0.29}', 0.29),
        (METRIC_LINE, "metric = [0.29]", 0.29),
        (METRIC_LINE, "metric: <tf.Tensor: shape=(), dtype=float32, numpy=0.29>", 0.29),
        (METRIC_LINE, "metric: tensor([ 0.29 ], dtype=torch.float64)", 0.29),
        (r"accuracy\s*[:=]\s*(\d+\.\d+)", "accuracy: 1e-05", 1e-05),
        (r"\bacc: (?P<value>[\d.]+)", "acc: -0.5", -0.5),
        (r"Acc@1 ([0-9.]+)", "Acc@1 85.3 (84.2)", 85.3),
        (r"eval/acc: (\S+)", '{"eval/acc": 0.29}', 0.29),
        (r"(?i)acc=([0-9.]+)", "ACC=0.29", 0.29),
        (r"val\.acc=(.+)", "val.acc=0.29 loss=1", 0.29),
        (r"acc=([0-9.,]+)", "acc=0,29", 0.29),
        # Patterns that are not a name and a number are searched for as they are.
        (r"^\d+,([0-9.]+)$", "12,0.29", 0.29),
        (r"(\d+),\d+$", "93,12", 93.0),
        (r"loss.*?([0-9.]+)", "loss-0.29", 0.29),
        ("acc\x1b\\[0m=([0-9.]+)", "acc\x1b[0m=0.29", 0.29),
    ],
)
def test_other_patterns(pattern: str, line: str, expected: float) -> None:
    assert value(pattern, line) == expected


def test_an_epoch_is_found_with_its_number() -> None:
    found = MetricPattern(r"epoch (?P<epoch>\d+).*acc=(?P<value>[0-9.]+)").find("epoch 3: acc=2.9e-01")
    assert found is not None
    assert (found.epoch, found.text) == ("3", "2.9e-01")


def test_not_a_number_is_found() -> None:
    assert math.isnan(value("val_acc=([0-9.]+)", "val_acc=nan") or 0.0)
    assert math.isnan(value("val_acc=([0-9.]+)", '{"val_acc": NaN}') or 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,234", "the metric '1,234' may be 1.234 or 1234: print it with a decimal point"),
        ("n/a", "the metric of an epoch must be a number, but got 'n/a'"),
        ("[0.29,", r"the metric of an epoch must be a number, but got '\[0.29,'"),
    ],
)
def test_what_is_no_number(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        number_of(text)


def test_lines_are_ranked_by_where_and_how_they_have_the_metric() -> None:
    finder = MetricFinder("acc=([0-9.]+)")
    ranked = [finder.find(text, is_error=is_error) for text in ("acc=0.3", "acc: 0.3") for is_error in (False, True)]
    assert [found and found[0] for found in ranked] == [0, 2, 1, 3]
    # A bar that is drawn over itself has a line for each of its states: only the last one ends.
    assert finder.find(" 50%|###   | acc=0.3\r", is_error=True) is None
    assert finder.find("100%|######| acc=0.3\n", is_error=True) is not None


def test_what_was_printed_instead_is_shown_with_the_pattern_to_write() -> None:
    finder = MetricFinder("val_acc=([0-9.]+)")
    assert finder.explain(["epoch 1 loss: 0.5 accuracy: 0.3\n", "\n"]) == (
        "the command ended without a metric: no line has 'val_acc=([0-9.]+)'; the last lines are "
        "'epoch 1 loss: 0.5 accuracy: 0.3'; numbers follow loss, accuracy: write for example --pattern 'accuracy=([0-9.]+)'"
    )
    assert finder.explain([]) == "the command ended without a metric: it printed nothing; the pattern is 'val_acc=([0-9.]+)'"
    assert finder.explain(["done"]).endswith("'done'; print the metric after each epoch, or change --pattern")
    assert names_in(["epoch 3: loss=0.2 'accuracy': 0.93"]) == ["loss", "accuracy"]
