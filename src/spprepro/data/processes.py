"""How the processes that load images start."""

import multiprocessing


def start_method(workers: int) -> str | None:
    """The `multiprocessing_context` of a loader: this process's start method, or the platform's where it is foreign.

    In a worker of joblib it is loky's, with which torch's loaders cannot start. None for no workers, as torch wants it.
    """
    if not workers:
        return None
    known, own = multiprocessing.get_all_start_methods(), multiprocessing.get_start_method()
    return own if own in known else known[0]
