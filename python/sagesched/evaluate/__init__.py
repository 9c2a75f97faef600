"""How good length predictions are: proper scores, and simple predictors to beat."""
