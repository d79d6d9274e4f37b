"""Where the project's own folders lie: conf/ and experiments/ in a checkout, or beside the package in a wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _own(name: str, marker: str) -> Path:
    """The folder `name`: inside the installed package, else at the top of the checkout."""
    places = (_PACKAGE / name, _PACKAGE.parents[1] / name)
    for place in places:
        if (place / marker).is_file():
            return place
    raise FileNotFoundError(f"{name}/{marker} is in neither of {', '.join(map(str, places))}; install spprepro again")


def conf() -> Path:
    """Hydra's primary config folder."""
    return _own("conf", "config.yaml")


def experiments() -> Path:
    """One YAML a paper table: printed values, the job and metric that fill each cell, the claims."""
    return _own("experiments", "table02.yaml")


def cache_home() -> Path:
    """Where surveys and resized pixels are kept between jobs: the user's cache folder; safe to delete."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "spprepro"


def data_home() -> Path:
    """Where data sets live and the generated one is put: $SPPREPRO_DATA, else beside the caches."""
    given = os.environ.get("SPPREPRO_DATA")
    return Path(given).expanduser() if given else cache_home() / "data"


def located(name: str) -> Path:
    """A data folder or file as named: here, or else under $SPPREPRO_DATA."""
    there = Path(name).expanduser()
    return there if there.exists() or not (data_home() / there).exists() else data_home() / there
