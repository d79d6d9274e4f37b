"""The networks of Table 1: layer tables, geometry, spatial pyramid pooling and heads."""
