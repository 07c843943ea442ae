"""The directions that the names of metrics imply, as people of the field read them."""

from __future__ import annotations

import math

import pytest

from curvestop.srm.metric_names import guess_direction

MINIMIZED = """
    loss val_loss Perplexity val/cross_entropy_loss train/box_loss Loss/val valLoss valloss d_loss rmse test_rmse MAE wer
    val_WER cer nll neg_log_likelihood negative_log_likelihood cox-nloglik mlogloss binary_logloss merror error top1_err
    error_rate MeanSquaredError mean_average_precision_error categorical_crossentropy BinaryCrossEntropy bits_per_dim bpb
    eval/ppl FID fid_score brier_score accuracy_gap generalization_gap dice_loss iou_loss f1_loss accuracy_loss kl_div
    KLDivergence js_divergence test/cost distance hausdorff_distance val_hd95 false_positive_rate fpr_at_95_recall
    false_negative_rate regret number_of_errors accuracy_drop neg_accuracy 1-auc one_minus_accuracy minus_reward -reward
    expected_calibration_error DaviesBouldinScore lpips huber l2 crps_score training/nll_loss accuracy/val_loss quantile_loss
    HammingLoss loss_per_token tweedie-deviance
"""
MAXIMIZED = """
    val_précision acc val_acc val/acc_top1 accuracy F1 f1_score macro_F1 val_nDCG ndcg@5 map mAP50 metrics/mAP50-95(B)
    metrics/precision(B) mIoU dice auc ROC_AUC AUROC MulticlassF1Score R2Score r2 score eval_top1 test_acc5 valacc BLEU rougeL
    exact_match reward win_rate episode_reward_mean rollout/return psnr ssim elbo log_likelihood true_negative_rate
    recall_at_fpr recall@10 accuracy_at_min_loss pass@1 win_loss_ratio neg_log_loss neg_mean_squared_error val_neg_log_loss
    neg_mean_loss negative_loss minus_loss -loss -val_loss error_reduction loss/accuracy silhouette_score average_precision
    1-shot_acc cosine_similarity success_rate
"""
UNKNOWN = """
    value objective power lower answer glossary entropy policy_entropy loss_accuracy loss_f1 ep_len_mean lossless flower
    negative_samples drop_rate width trial
"""


@pytest.mark.parametrize("metric", MINIMIZED.split())
def test_minimized(metric: str) -> None:
    assert guess_direction(metric) == "minimize"


@pytest.mark.parametrize("metric", MAXIMIZED.split())
def test_maximized(metric: str) -> None:
    assert guess_direction(metric) == "maximize"


@pytest.mark.parametrize("metric", UNKNOWN.split())
def test_no_direction(metric: str) -> None:
    assert guess_direction(metric) is None


def test_a_loss_that_is_never_above_zero_is_negated_if_it_rises() -> None:
    assert guess_direction("val_loss", [[-0.9, -0.4], [-0.8, -0.5], [-0.7, math.nan]]) == "maximize"
    assert guess_direction("val_mse", [[-0.9, -0.4, 0.0]]) == "maximize"
    assert guess_direction("val_loss", [[-0.9, -0.4], [-0.9, 0.1]]) == "minimize"
    assert guess_direction("val_loss", [[0.0, 0.0]]) == "minimize"  # 0 is what a loss of nothing is
    assert guess_direction("val_loss", [[-3.0, -15.0]]) is None  # a loss such as SI-SNR falls below 0


def test_other_names_do_not_go_by_the_values() -> None:
    assert guess_direction("reward", [[-200.0, -100.0]]) == "maximize"
    assert guess_direction("neg_log_loss", [[0.9, 0.4]]) == "maximize"
    assert guess_direction("neg_reward", [[-1.0, -2.0]]) == "minimize"
