"""The truth, which no analyst sees: authorities, workers, outcomes without any framework, delivery."""
