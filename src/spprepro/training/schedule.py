"""When the learning rate drops: on a plateau of the training error, and at the latest at a share of the epochs."""

from collections.abc import Sequence


def drops(errors: Sequence[float], epochs: int, *, latest: Sequence[float], patience: int, cycle: int = 1) -> int:
    """How often the rate has been divided by 10 before epoch len(errors) (section 3.1: twice, when the error plateaus).

    errors: the training error of each epoch so far; latest: share of `epochs` by which each drop happens anyway;
    patience: epochs without a new lowest error (by 1 % of it) that count as a plateau; cycle: epochs that are averaged
    first, so that epochs at 224 and 180 pixels are not compared with one another. A pure function of its arguments,
    hence the same after a resume.
    """
    done, since, best = 0, 0, float("inf")
    for epoch in range(len(errors) + 1):
        if epoch:
            window = errors[max(0, epoch - cycle) : epoch]
            error = sum(window) / len(window)
            since = 0 if error < 0.99 * best else since + 1
            best = min(best, error)
        due = done < len(latest) and epoch >= round(latest[done] * epochs)
        if done < len(latest) and (due or since >= patience):
            done, since, best = done + 1, 0, float("inf")
    return done
