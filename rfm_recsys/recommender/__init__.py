"""The recommender: LinRFM, its rounds, and its lists."""
