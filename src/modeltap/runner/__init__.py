"""The runner process: one job from claim to outcome. One step function for each kind of job."""
