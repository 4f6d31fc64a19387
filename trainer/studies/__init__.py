"""Many small trainings compared, and the ablations they are made of."""
