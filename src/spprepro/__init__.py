"""spprepro: the tables of SPP-net (He, Zhang, Ren, Sun 2014/15), run again and judged beside the printed numbers."""

__version__ = "0.1.0"
