"""Networks trained on sets, their accuracies, and tables of them."""
