"""What numbers of an evaluation say: intervals, tests, corrections, agreement. Pure functions of numbers."""
