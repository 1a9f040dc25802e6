"""The steps from an empty database to today's tables; loaded only where a step must run."""
