"""Loaders start their processes wherever they are."""

import multiprocessing

from spprepro.data.processes import start_method


def test_a_foreign_start_method_is_not_passed_on(monkeypatch):
    assert start_method(0) is None
    assert start_method(2) == multiprocessing.get_start_method()
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "loky")
    assert start_method(1) in multiprocessing.get_all_start_methods()
