"""From features to numbers with their intervals."""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "distances": "distance cosine_distance cosine_similarity euclidean_distance l2_normalise nearest",
        "curves": "roc precision_recall auc average_precision equal_error_rate confusion Confusion "
        "best_threshold tar_at_far TarAtFar ten_fold TenFold RATES",
        "intervals": "Estimate Comparison wilson_interval student_interval over_folds mean_difference "
        "mean_over_people identity_weights estimate compared rank_correlation holm",
        "calibration": "far_thresholds FarThreshold fit_logistic Logistic fit_isotonic Isotonic",
        "judging": "reliability Reliability brier cllr min_cllr judge shares",
        "collection": "every_pair EveryPair far_of_all fisher_ratio scatter",
        "draws": "small_draws best_f1 second_peak",
        "identification": "Probes",
        "clustering": "clusters agreement_of likeness",
        "resampling": "Bootstrap thirds",
        "protocol": "scores fold_distances own_fold margins centred auc_by_source METRICS FARS POOLED VALIDATION_PAIRS",
    },
)
