"""The paper: its tables as data, and which measured number belongs in which cell."""
