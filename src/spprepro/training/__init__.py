"""What every job that learns needs: checkpoints, exact resume, the learning-rate rule, the speed of the CPU."""
