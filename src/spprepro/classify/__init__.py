"""ImageNet classification: training at one or several sizes, testing by views (Tables 1 to 5)."""
