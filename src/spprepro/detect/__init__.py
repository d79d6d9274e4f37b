"""Detection of objects (section 4, Tables 9 to 12): windows proposed, pooled from shared maps, classified."""
