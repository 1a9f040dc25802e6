"""How good a model is: metrics with intervals, by class and by slice, and a report. Knows arrays alone, no engine."""
