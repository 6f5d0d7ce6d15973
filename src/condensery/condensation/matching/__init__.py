"""One matching step: what is drawn, how it is laid out in calls, and its gradient."""
