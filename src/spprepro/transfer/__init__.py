"""Transfer: other photos are told apart by linear SVMs on the frozen features of a trained network."""
