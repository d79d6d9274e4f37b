"""Speed measured against a peer in the same run, as a ratio; one file a measurement."""

from spprepro.config import Config


def run_bench(config: Config) -> None:
    """Run `config.bench` and print its measurement; the record lies in results_dir/bench/."""
    if config.bench == "input_pipeline":
        from spprepro.bench.input_pipeline import measure
    elif config.bench == "views":
        from spprepro.bench.views import measure
    elif config.bench == "window_pooling":
        from spprepro.bench.window_pooling import measure
    elif config.bench == "rcnn_vs_spp":
        from spprepro.bench.rcnn_vs_spp import measure
    elif config.bench == "svm":
        from spprepro.bench.svm import measure
    elif config.bench == "transfer":
        from spprepro.bench.transfer import measure
    elif config.bench == "train_step":
        from spprepro.bench.train_step import measure
    elif config.bench == "detection":
        from spprepro.bench.detection import measure
    else:
        from spprepro.bench.train_loop import measure
    measure(config)
