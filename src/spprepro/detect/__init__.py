"""Detection with SPP-net (section 4, Tables 9 to 12): feature maps of the whole image, pooled for each window."""
