"""Speed measured against a peer in the same run, as a ratio; one file a measurement."""

from importlib import import_module

from spprepro.config import Config


def run_bench(config: Config) -> None:
    """Run `config.bench` and print its measurement; the record lies in results_dir/bench/."""
    import_module(f"spprepro.bench.{config.bench}").measure(config)
