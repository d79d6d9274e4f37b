"""When the learning rate drops."""

from spprepro.training.schedule import drops


def falling(n):
    return [90 * 0.9**i for i in range(n)]


def after(errors, **changes):
    return drops(errors, 20, **{"latest": [0.5, 0.75], "patience": 3, **changes})


def test_falling_error_drops_at_the_latest_moments():
    assert [after(falling(n)) for n in (0, 9, 10, 14, 15, 19)] == [0, 0, 1, 1, 2, 2]


def test_plateau_drops_after_patience_epochs_and_counts_anew():
    flat = [50.0] * 20
    assert [after(flat[:n]) for n in (1, 3, 4, 7, 8, 12)] == [0, 0, 1, 1, 2, 2]


def test_at_most_as_many_drops_as_given():
    assert after([50.0] * 20) == 2
    assert after([50.0] * 20, latest=[]) == 0


def test_alternating_sizes_are_averaged_before_comparison():
    alternating = [80 - 2 * i + (10 if i % 2 else 0) for i in range(10)]
    assert after(alternating, patience=1, cycle=2) == 1  # only the latest moment of epoch 10
    assert after(alternating, patience=1, cycle=1) == 2
