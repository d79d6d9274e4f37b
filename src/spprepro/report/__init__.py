"""The report: tables and a page beside the paper's numbers, made from the records alone."""
