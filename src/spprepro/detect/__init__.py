"""Detection on PASCAL VOC: windows on shared feature maps, R-CNN beside it, and their evaluation (Tables 9 to 12)."""
