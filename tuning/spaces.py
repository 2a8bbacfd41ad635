"""The built-in search spaces: one row per setting, with its values. Any setting of `model` and `loss` may have one."""

from anomalyclip.tuning.space import Space, between, log_between, one_of

SPACES = {
    # every combination
    "grid": Space({
        "model.k":              one_of(1, 3, 5),
        "model.context_length": one_of(4, 8),
        "model.depth":          one_of(1, 2),
    }),
    # drawn by Optuna; ASHA stops the weak ones early
    "wide": Space({
        "model.k":                                        one_of(1, 2, 3, 5, 8),
        "model.context_length":                           one_of(2, 4, 8, 16),
        "model.depth":                                    one_of(1, 2),
        "model.embedding_dim":                            one_of(32, 64, 128, 256),
        "model.top_dropout + model.bottom_dropout":       between(0.0, 0.9),
        "training.learning_rate":                         log_between(3e-5, 3e-3),
        "loss.direction_abnormal + loss.direction_normal": log_between(0.1, 10),
        "loss.top_k_abnormal + loss.top_k_normal":        log_between(0.1, 10),
        "loss.bottom_k_abnormal":                         log_between(0.1, 10),
        "loss.smooth":                                    log_between(8e-5, 8e-3),
        "loss.sparse":                                    log_between(8e-4, 8e-2),
    }, trials=24),
}  # fmt: skip
"""By the name that `--space` takes."""
